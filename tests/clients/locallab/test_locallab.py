"""LocalLab's Python client, unmodified. The numbers are the lines of docs/dialects/locallab.md."""

import pytest
from locallab_client import SyncLocalLabClient

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
TOKENS = 12
# As plain as the client can ask.
PLAIN = {"max_length": TOKENS, "temperature": 0.0, "repetition_penalty": 1.0}


@pytest.fixture
def client(url):
    client = SyncLocalLabClient(url)
    yield client
    client.close()


def test_it_is_healthy(client):  # 16
    assert client.health_check()


def test_a_plain_answer_is_that_of_openai(client, greedy):  # 1, 3, 4
    assert client.generate(PROMPT, **PLAIN) == greedy(PROMPT, TOKENS)


def test_a_stream_says_the_same(client, greedy):  # 7, 8, 9
    parts = list(client.generate(PROMPT, stream=True, **PLAIN))
    assert len(parts) > 3
    assert "".join(parts).replace("\\n", "\n").rstrip() == greedy(PROMPT, TOKENS).rstrip()


def test_a_chat_whole_and_streamed(client, call):  # 10, 11
    said = client.chat(MESSAGES, max_length=TOKENS, temperature=0.0)
    choice = said["choices"][0]
    assert choice["message"]["role"] == "assistant" and "Paris" in choice["message"]["content"]
    assert choice["index"] == 0 and said["usage"]["completion_tokens"] <= TOKENS
    events = list(client.stream_chat(MESSAGES, max_length=TOKENS, temperature=0.0))
    text = "".join(event["choices"][0]["delta"]["content"] for event in events)
    assert text.rstrip() == choice["message"]["content"].rstrip()


def test_a_batch_keeps_its_order(client, greedy):  # 12
    prompts = [PROMPT, "1, 2, 3,", "Once upon a time"]
    responses = client.batch_generate(prompts, **PLAIN)["responses"]
    assert responses == [greedy(prompt, TOKENS) for prompt in prompts]


def test_models_come_and_go(client, model):  # 13, 14, 15
    assert client.load_model(model)
    assert client.get_current_model()["id"] == model
    assert client.unload_model()
    with pytest.raises(Exception, match="No model"):
        client.generate(PROMPT, **PLAIN)
    with pytest.raises(Exception):
        client.get_current_model()
    assert client.load_model(model)
    assert client.generate(PROMPT, **PLAIN)
    assert any(one["id"] == model and one["is_loaded"] for one in client.list_models())
    with pytest.raises(Exception, match="nothing-like-it"):
        client.load_model("nothing-like-it")


def test_the_machine_tells_of_itself(client, model):  # 17
    info = client.get_system_info()
    value = info.get if isinstance(info, dict) else lambda name: getattr(info, name)
    assert value("active_model") == model and value("uptime") >= 0 and value("request_count") > 0
    assert 0 <= value("memory_usage") <= 100
