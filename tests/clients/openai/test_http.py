"""What no client library shows: bytes, headers, and requests that nobody should send. Standard library only."""

import http.client
import json
from urllib.parse import urlsplit

import pytest


def call(url, method, path, body=None, headers=None):
    """Status, headers and body of one request. `body` is sent as JSON unless it is bytes."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    try:
        connection.request(method, path, body, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def ask(url, path, body):
    status, _, answer = call(url, "POST", path, body)
    assert status == 200, answer
    return json.loads(answer)


def assert_refused(url, path, body):
    """The answer is a client error in OpenAI's form, and the server still works."""
    status, headers, answer = call(url, "POST", path, body)
    assert 400 <= status < 500, (status, answer[:300])
    assert headers["content-type"].startswith("application/json")
    error = json.loads(answer)["error"]
    assert error["message"] and error["type"]
    assert len(answer) < 4096, "an error does not repeat what was sent"
    assert ask(url, "/v1/completions", {"prompt": "Hello", "max_tokens": 1})["choices"]
    return error


def test_health_says_ready(url):
    status, headers, answer = call(url, "GET", "/health")
    assert status == 200 and headers["content-type"].startswith("application/json")
    assert isinstance(json.loads(answer), dict)


@pytest.mark.parametrize("text", ["Hello, world!", "naïve café", "日本語のテキスト", "👩‍👩‍👧 emoji", "مرحبا بالعالم", "  \t\n  x = [1,\n\t2]"])
def test_detokenize_undoes_tokenize(url, text):
    encoded = ask(url, "/tokenize", {"prompt": text, "add_special_tokens": False})
    assert encoded["count"] == len(encoded["tokens"]) and encoded["max_model_len"] > 0
    assert ask(url, "/detokenize", {"tokens": encoded["tokens"]})["prompt"] == text


def test_tokenizer_info_names_the_special_tokens(url):
    status, _, answer = call(url, "GET", "/tokenizer_info")
    info = json.loads(answer)
    assert status == 200 and info["chat_template"]
    assert len(ask(url, "/tokenize", {"prompt": info["eos_token"], "add_special_tokens": False})["tokens"]) == 1


def test_messages_are_tokenized_through_the_chat_template(url):
    messages = [{"role": "user", "content": "Hi"}]
    chat = ask(url, "/tokenize", {"prompt": messages, "add_special_tokens": False})
    plain = ask(url, "/tokenize", {"prompt": "Hi", "add_special_tokens": False})
    assert chat["count"] > plain["count"]


def test_token_ids_are_a_prompt(url):
    tokens = ask(url, "/tokenize", {"prompt": "The capital of France is", "add_special_tokens": False})["tokens"]
    options = {"max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
    answer = ask(url, "/v1/completions", {"prompt": [tokens, tokens[:2]], **options})
    lengths = [len(choice["logprobs"]["tokens"]) for choice in answer["choices"]]
    assert lengths == [len(tokens) + 1, 3]


def test_a_request_id_comes_back(url):
    _, headers, _ = call(url, "GET", "/v1/models", headers={"x-request-id": "mine-42"})
    assert headers["x-request-id"] == "mine-42"
    _, headers, _ = call(url, "GET", "/v1/models")
    assert headers["x-request-id"]


def test_a_stream_is_server_sent_events_and_ends_with_done(url):
    body = {"prompt": "Hello", "max_tokens": 3, "stream": True}
    status, headers, answer = call(url, "POST", "/v1/completions", body, {"accept-encoding": "gzip, deflate"})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    events = [event for event in answer.decode().split("\n\n") if event and not event.startswith(":")]
    assert all(event.startswith("data: ") for event in events) and events[-1] == "data: [DONE]"
    assert all(json.loads(event[6:])["object"] == "text_completion" for event in events[:-1])


def test_unknown_fields_and_nulls_are_ignored(url):
    assert ask(url, "/v1/completions", {"prompt": "Hello", "max_tokens": 1, "num_beams": 4, "stop": None, "n": None})


def test_a_prompt_of_10_megabytes_is_refused(url):
    assert_refused(url, "/v1/completions", {"prompt": "lorem ipsum " * 873_814, "max_tokens": 1})


def test_10_000_stop_strings_do_no_harm(url):
    body = {"prompt": "Hello", "max_tokens": 2, "stop": [f"stop {i}" for i in range(10_000)]}
    status, _, answer = call(url, "POST", "/v1/completions", body)
    assert status == 200 or json.loads(answer)["error"]["message"]
    assert ask(url, "/v1/completions", {"prompt": "Hello", "max_tokens": 1})["choices"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"prompt": "caf\xe9"}',
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": 1e999}',
        b"[" * 100_000,
        {"prompt": 1},
        {"prompt": {"a": 1}},
        {"prompt": [1.5]},
        {"prompt": [-1]},
        {"prompt": [4_294_967_295]},
        {"prompt": "a", "max_tokens": "many"},
        {"prompt": "a", "max_tokens": 1.5},
        {"prompt": "a", "n": 1_000_000_000},
        {"prompt": "a", "stop": [1]},
        {"prompt": "a", "stream": "yes"},
        {"prompt": "a", "logit_bias": {"word": 1}},
        {"prompt": "a", "logprobs": 100_000},
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_malformed_completion_is_refused(url, body):
    assert_refused(url, "/v1/completions", body)


@pytest.mark.parametrize(
    "messages",
    [None, "Hello", [], ["Hello"], [{"role": "user", "content": 1}], [{"content": "no role"}], [{"role": "user", "content": [{"type": "image_url"}]}]],
    ids=lambda messages: str(messages)[:40],
)
def test_malformed_messages_are_refused(url, messages):
    assert_refused(url, "/v1/chat/completions", {"messages": messages})


def test_an_unknown_path_and_a_wrong_method_are_answered_in_json(url):
    for method, path, wanted in [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405)]:
        status, _, answer = call(url, method, path)
        assert status == wanted and json.loads(answer)["error"]["message"]


def test_a_page_of_any_origin_may_ask(url):  # LocalLab 22
    headers = {"origin": "http://page.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    status, answer, _ = call(url, "OPTIONS", "/generate", headers=headers)
    assert status == 200 and answer["access-control-allow-origin"] in ("*", headers["origin"])
    assert "authorization" in answer["access-control-allow-headers"].lower() or answer["access-control-allow-headers"] == "*"


def test_every_answer_says_how_long_it_took(url):  # LocalLab 18
    counts = []
    for path in ("/health", "/v1/models", "/nothing/here"):
        _, headers, _ = call(url, "GET", path)
        assert float(headers["x-process-time"]) >= 0
        counts.append(int(headers["x-request-count"]))
    assert counts == sorted(set(counts))


def test_the_metrics_count_what_was_asked(url):
    ask(url, "/v1/completions", {"prompt": "Hello", "max_tokens": 2})
    status, headers, answer = call(url, "GET", "/metrics")
    text = answer.decode()
    assert status == 200 and headers["content-type"].startswith("text/plain")
    for name in ("tinderbox_requests_total", "tinderbox_generated_tokens_total", "tinderbox_kv_blocks", "lorax_request_count"):
        assert name in text
    _, _, answer = call(url, "GET", "/metrics", headers={"accept": "application/json"})
    assert json.loads(answer)["lorax_request_count"]["data"]


def test_the_api_describes_itself(url):
    _, _, answer = call(url, "GET", "/openapi.json")
    document = json.loads(answer)
    assert document["openapi"].startswith("3.1") and len(document["paths"]) > 40
    _, headers, answer = call(url, "GET", "/docs")
    assert headers["content-type"].startswith("text/html") and b"openapi.json" in answer
