"""lorax-client and huggingface_hub's InferenceClient, unmodified. The numbers are the lines of docs/dialects/lorax.md."""

import pytest
from huggingface_hub import InferenceClient
from lorax import AsyncClient, Client
from lorax.errors import GenerationError, ValidationError
from lorax.types import MergedAdapters
from pydantic import BaseModel

PROMPT = "The capital of France is"
TOKENS = 12


@pytest.fixture(scope="module")
def client(url):
    return Client(url, timeout=300)


def test_a_greedy_answer_is_that_of_openai_and_its_details_add_up(client, greedy):  # 1, 3, 4, 27
    answer = client.generate(PROMPT, max_new_tokens=TOKENS)
    assert answer.generated_text == greedy(PROMPT, TOKENS)
    details = answer.details
    assert details.finish_reason == "length" and details.generated_tokens == TOKENS == len(details.tokens)
    assert details.seed is None
    assert "".join(token.text for token in details.tokens) == answer.generated_text
    assert all(token.logprob <= 0 for token in details.tokens)


def test_a_stream_says_the_same_a_token_at_a_time(client):  # 12, 27
    whole = client.generate(PROMPT, max_new_tokens=TOKENS).generated_text
    events = list(client.generate_stream(PROMPT, max_new_tokens=TOKENS))
    assert len(events) == TOKENS
    assert "".join(event.token.text for event in events) == whole
    assert [event.generated_text for event in events[:-1]] == [None] * (TOKENS - 1)
    assert events[-1].generated_text == whole and events[-1].details.generated_tokens == TOKENS


@pytest.mark.parametrize("path", ["", "/lorax"])
def test_the_prefix_forces_the_dialect(url, path, greedy):  # 1
    assert Client(url + path).generate(PROMPT, max_new_tokens=3).generated_text == greedy(PROMPT, 3)


def test_a_stop_text_stays(client, greedy):  # 5
    text = greedy(PROMPT, TOKENS)
    stop = text[4:7]
    answer = client.generate(PROMPT, max_new_tokens=TOKENS, stop_sequences=[stop])
    assert answer.generated_text == text[: text.index(stop) + len(stop)]
    assert answer.details.finish_reason == "stop_sequence"


def test_the_prompt_and_its_tokens_come_back_when_asked(client, call, greedy):  # 6, 7
    answer = client.generate(PROMPT, max_new_tokens=3, return_full_text=True, decoder_input_details=True)
    assert answer.generated_text == PROMPT + greedy(PROMPT, 3)
    ids = call("/tokenize", {"prompt": PROMPT, "add_special_tokens": False})["tokens"]
    assert [token.id for token in answer.details.prefill] == ids
    assert answer.details.prefill[0].logprob is None and answer.details.prefill[1].logprob < 0


def test_an_adapter_changes_the_answer(adapted, greedy):  # 14
    client = Client(adapted, timeout=300)
    base = client.generate(PROMPT, max_new_tokens=TOKENS).generated_text
    assert base == greedy(PROMPT, TOKENS)
    answers = [client.generate(PROMPT, adapter_id=name, max_new_tokens=TOKENS).generated_text for name in ("one", "owner/two")]
    assert len({base, *answers}) == 3
    named = client.generate(PROMPT, adapter_id="one", adapter_source="local", max_new_tokens=TOKENS)
    assert named.generated_text == answers[0]
    streamed = client.generate_stream(PROMPT, adapter_id="one", max_new_tokens=TOKENS)
    assert "".join(event.token.text for event in streamed) == answers[0]


def test_merged_adapters_with_all_weight_on_one_are_that_one(adapted):  # 16
    client = Client(adapted, timeout=300)

    def merged(*weights: float) -> str:
        how = {"merge_strategy": "linear", "density": 0.5, "majority_sign_method": "total"}
        several = MergedAdapters(ids=["one", "owner/two"], weights=list(weights), **how)
        return client.generate(PROMPT, merged_adapters=several, max_new_tokens=TOKENS).generated_text

    assert merged(1.0, 0.0) == client.generate(PROMPT, adapter_id="one", max_new_tokens=TOKENS).generated_text
    assert merged(0.0, 1.0) == client.generate(PROMPT, adapter_id="owner/two", max_new_tokens=TOKENS).generated_text


def test_errors_have_their_classes(client):  # 10, 11, 17, 29
    with pytest.raises(GenerationError, match="nobody/nothing"):
        client.generate(PROMPT, adapter_id="nobody/nothing", adapter_source="local", max_new_tokens=1)
    with pytest.raises(ValidationError, match="`inputs` tokens"):
        client.generate("word " * 20000, max_new_tokens=1)
    with pytest.raises(GenerationError, match="nobody/nothing"):
        list(client.generate_stream(PROMPT, adapter_id="nobody/nothing", adapter_source="local", max_new_tokens=1))


def test_a_seed_gives_the_same_text_again(client):  # 4
    ask = dict(do_sample=True, temperature=1.5, max_new_tokens=TOKENS)
    first, second = (client.generate(PROMPT, seed=7, **ask) for _ in range(2))
    assert first.generated_text == second.generated_text and first.details.seed == 7


async def both(url):
    client = AsyncClient(url, timeout=300)
    whole = (await client.generate(PROMPT, max_new_tokens=3)).generated_text
    parts = [event.token.text async for event in client.generate_stream(PROMPT, max_new_tokens=3)]
    return whole, "".join(parts)


def test_the_asynchronous_client_works_too(url, greedy):  # 27
    import asyncio

    assert asyncio.run(both(url)) == (greedy(PROMPT, 3),) * 2


def test_the_inference_client_of_hugging_face_works(url, greedy, call):  # 28
    client = InferenceClient(url, timeout=300)
    assert client.text_generation(PROMPT, max_new_tokens=TOKENS) == greedy(PROMPT, TOKENS)
    assert "".join(client.text_generation(PROMPT, max_new_tokens=TOKENS, stream=True)) == greedy(PROMPT, TOKENS)
    details = client.text_generation(PROMPT, max_new_tokens=3, details=True)
    assert details.details.finish_reason == "length" and len(details.details.tokens) == 3
    messages = [{"role": "user", "content": "Name a color."}]
    said = client.chat_completion(messages, max_tokens=8, temperature=0)
    same = call("/v1/chat/completions", {"messages": messages, "max_tokens": 8, "temperature": 0})
    assert said.choices[0].message.content == same["choices"][0]["message"]["content"]


class Person(BaseModel):
    name: str
    age: int


def test_a_response_format_is_followed(client):  # 19
    form = {"type": "json_object", "schema": Person.model_json_schema()}
    whole = client.generate("Ann is 7.", max_new_tokens=80, response_format=form).generated_text
    Person.model_validate_json(whole, strict=True)
    events = client.generate_stream("Ann is 7.", max_new_tokens=80, response_format=form)
    assert [event.generated_text for event in events][-1] == whole
    with pytest.raises(ValidationError, match="response_format"):
        client.generate("Ann", response_format={"type": "json_object", "schema": {"type": "text"}})
