"""langchain-openai, unmodified: what an application built on LangChain asks of an OpenAI endpoint."""

import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

PROMPT = "The capital of France is"
QUESTION = [("system", "Be brief."), ("human", "What is the capital of France?")]
TOKENS = 12


@pytest.fixture(scope="module")
def options(url, model) -> dict:
    return {"base_url": f"{url}/v1", "api_key": "EMPTY", "model": model, "temperature": 0, "max_tokens": TOKENS, "max_retries": 0}


@pytest.fixture(scope="module")
def chat(options) -> ChatOpenAI:
    return ChatOpenAI(**options, stream_usage=True)


def test_langchain_chats_whole_and_in_pieces(chat):
    whole = chat.invoke(QUESTION)
    pieces = list(chat.stream(QUESTION))
    assert "Paris" in whole.content and "".join(piece.content for piece in pieces) == whole.content
    # The second prompt may come from the prefix cache; the counts are the same.
    streamed = sum(pieces[1:], pieces[0]).usage_metadata
    counts = ("input_tokens", "output_tokens", "total_tokens")
    assert [streamed[count] for count in counts] == [whole.usage_metadata[count] for count in counts]


def test_langchain_counts_what_it_used(chat, model):
    answer = chat.invoke(QUESTION)
    usage = answer.usage_metadata
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"] and usage["output_tokens"] <= TOKENS
    assert answer.response_metadata["model_name"] == model
    assert answer.response_metadata["finish_reason"] in ("stop", "length")


def test_langchain_asks_several_at_once(chat):
    together = chat.batch([QUESTION, "Name a color."], config={"max_concurrency": 2})
    assert [answer.content for answer in together] == [chat.invoke(ask).content for ask in (QUESTION, "Name a color.")]


def test_langchain_reads_logprobs(chat):
    content = chat.bind(logprobs=True, top_logprobs=2).invoke("Name a color.").response_metadata["logprobs"]["content"]
    assert content and all(token["logprob"] == token["top_logprobs"][0]["logprob"] for token in content)


def test_langchain_completes_whole_and_in_pieces(options, greedy):
    llm = OpenAI(**options)
    assert llm.invoke(PROMPT) == "".join(llm.stream(PROMPT)) == greedy(PROMPT, TOKENS)


def test_langchain_sends_its_prompts_as_one_list(options, greedy):
    prompts = [PROMPT, "Once upon a time"]
    answer = OpenAI(**options).generate(prompts)
    assert [row[0].text for row in answer.generations] == [greedy(prompt, TOKENS) for prompt in prompts]
    usage = answer.llm_output["token_usage"]
    assert usage["completion_tokens"] == 2 * TOKENS


def test_langchain_stops_where_it_is_told(options, greedy):
    text = greedy(PROMPT, TOKENS)
    assert OpenAI(**options).invoke(PROMPT, stop=[text[4:7]]) == text[: text.index(text[4:7])]


def test_langchain_raises_what_the_server_refuses(options):
    with pytest.raises(openai.NotFoundError, match="nobody"):
        ChatOpenAI(**options | {"model": "nobody"}).invoke("Hi")
    with pytest.raises(openai.BadRequestError, match="maximum context length is"):
        ChatOpenAI(**options).invoke("word " * 20_000)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gives_structured_output(options, method):
    chat = ChatOpenAI(**options | {"max_tokens": 120}).with_structured_output(Person, method=method)
    assert isinstance(chat.invoke("Ann is 7 years old. Tell me about Ann."), Person)
