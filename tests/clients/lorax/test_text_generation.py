"""text-generation, the client of Text Generation Inference, unmodified, and more of Hugging Face's InferenceClient."""

import asyncio

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import GenerationError, HfHubHTTPError
from huggingface_hub.errors import ValidationError as HuggingFaceValidationError
from text_generation import AsyncClient, Client
from text_generation.errors import ValidationError

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": "Name three colors."}]
TOKENS = 12


@pytest.fixture(scope="module")
def client(url):
    return Client(url, timeout=300)


@pytest.fixture(scope="module")
def hugging_face(url):
    return InferenceClient(url, timeout=300)


def test_a_greedy_answer_whole_and_streamed(client, greedy):  # LoRAX 28
    whole = client.generate(PROMPT, max_new_tokens=TOKENS)
    assert whole.generated_text == greedy(PROMPT, TOKENS)
    events = list(client.generate_stream(PROMPT, max_new_tokens=TOKENS))
    assert "".join(event.token.text for event in events) == events[-1].generated_text == whole.generated_text
    assert [token.id for token in whole.details.tokens] == [event.token.id for event in events]


def test_its_prompt_tokens_come_back_when_asked(client, call):  # LoRAX 6, 7
    answer = client.generate(PROMPT, max_new_tokens=2, decoder_input_details=True, return_full_text=True)
    assert answer.generated_text.startswith(PROMPT)
    ids = call("/tokenize", {"prompt": PROMPT, "add_special_tokens": False})["tokens"]
    assert [token.id for token in answer.details.prefill] == ids


def test_best_of_gives_the_other_sequences_too(client):  # LoRAX 4.2
    answer = client.generate(PROMPT, max_new_tokens=4, best_of=2, do_sample=True)
    assert len(answer.details.best_of_sequences) == 1


def test_what_is_wrong_raises_a_validation_error(client):  # LoRAX 9, 10, 11, 29
    with pytest.raises(ValidationError, match="inputs"):
        client.generate("word " * 20_000, max_new_tokens=1)


def test_the_asynchronous_client(url, greedy):  # LoRAX 28
    async def parts():
        return [event.token.text async for event in AsyncClient(url, timeout=300).generate_stream(PROMPT, max_new_tokens=3)]

    assert "".join(asyncio.run(parts())) == greedy(PROMPT, 3)


def test_hugging_face_streams_a_chat(hugging_face):  # LoRAX 28
    ask = {"messages": MESSAGES, "max_tokens": TOKENS, "temperature": 0}
    whole = hugging_face.chat_completion(**ask)
    assert whole.usage.prompt_tokens + whole.usage.completion_tokens == whole.usage.total_tokens
    chunks = hugging_face.chat_completion(**ask, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


def test_hugging_face_keeps_a_stop_text_and_says_why_it_ended(hugging_face, greedy):  # LoRAX 4, 5
    text = greedy(PROMPT, TOKENS)
    stop = text[4:7]
    answer = hugging_face.text_generation(PROMPT, max_new_tokens=TOKENS, stop=[stop], details=True)
    assert answer.generated_text == text[: text.index(stop) + len(stop)]
    assert answer.details.finish_reason == "stop_sequence"
    *_, last = hugging_face.text_generation(PROMPT, max_new_tokens=3, stream=True, details=True)
    assert last.details.finish_reason == "length" and last.details.generated_tokens == 3


def test_hugging_face_raises_the_kind_of_error_that_the_server_names(hugging_face):  # LoRAX 10, 17, 29
    with pytest.raises(GenerationError, match="nobody"):
        hugging_face.text_generation(PROMPT, max_new_tokens=1, adapter_id="nobody")
    with pytest.raises(HuggingFaceValidationError, match="top_p"):
        hugging_face.text_generation(PROMPT, max_new_tokens=1, top_p=1.1)
    with pytest.raises(HfHubHTTPError, match="maximum context length"):
        hugging_face.chat_completion([{"role": "user", "content": "word " * 20_000}], max_tokens=1)
