"""The bytes of each dialect's streams, as curl shows them: what stands between two answers, what is flushed together, how a
stream ends. Each stream says what the whole answer says."""

import json
import os
import re

import pytest

PROMPT = "Roses are red,"  # its greedy answer has line feeds
EMOJI = "Repeat: 👩‍👩‍👧 日本語 👩‍👩‍👧 日本語 👩‍👩‍👧"
TOKENS = 24
JSON = ("--header", "content-type: application/json")
CHAT = [{"role": "user", "content": "Name three colors."}]


def frames(answer, start: bytes = b"data: ") -> list[bytes]:
    """What follows `start` in each event of a stream of whole events, none of which has been split or merged."""
    chunks = answer.chunks()
    if "BEHIND" in os.environ:
        # Something stands between, which passes on the same bytes, cut elsewhere.
        chunks = re.findall(rb".*?\n\n", b"".join(chunks), re.DOTALL)
    assert answer.status == 200
    for chunk in chunks:
        assert chunk.startswith(start) and chunk.endswith(b"\n\n") and chunk.count(b"\n\n") == 1, chunk
    return [chunk[len(start) : -2] for chunk in chunks]


def engine(model: str, end: str = "completions", prefix: str = "") -> str:
    return f"{prefix}/v1/engines/{model}/{end}"


@pytest.mark.parametrize("prefix", ["", "/textsynth"])
@pytest.mark.parametrize("prompt", [PROMPT, EMOJI])
def test_a_textsynth_stream_is_one_line_of_json_and_an_empty_line_a_chunk(curl, model, greedy, prompt, prefix):
    # TextSynth 9, 10, 11, 12, 13
    body = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    answer = curl(engine(model, prefix=prefix), body, "--raw")
    answers = [json.loads(frame.decode()) for frame in frames(answer, b"")]
    assert all(b"\n" not in frame for frame in frames(answer, b"")) and b"data:" not in answer.body
    *parts, last = answers
    assert all(part.keys() == {"text", "reached_end"} and not part["reached_end"] for part in parts)
    assert last["reached_end"] and last["finish_reason"] in ("length", "stop")
    assert last["input_tokens"] + last["output_tokens"] == last["total_tokens"] and last["output_tokens"] <= TOKENS
    assert "truncated_prompt" not in last and "error" not in last
    assert "".join(part["text"] for part in answers) == greedy(prompt, TOKENS)


def test_a_textsynth_conversation_streams_the_same_way(curl, model):  # TextSynth 22
    body = {"messages": ["Name a color.", "Red.", "Another."], "system": "Be brief.", "max_tokens": 8, "top_k": 1}
    whole = curl(engine(model, "chat"), body).json()
    parts = [json.loads(frame) for frame in frames(curl(engine(model, "chat"), body | {"stream": True}, "--raw"), b"")]
    assert "".join(part["text"] for part in parts) == whole["text"] and whole["reached_end"]


@pytest.mark.parametrize("path", ["/generate_stream", "/", "/lorax/generate_stream"])
def test_a_lorax_stream_has_an_event_a_token_and_no_done(curl, greedy, path):  # LoRAX 3, 12
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": TOKENS, "details": True}, "stream": True}
    answer = curl(path, body, "--raw", *JSON)
    assert answer.headers["content-type"].startswith("text/event-stream") and b"[DONE]" not in answer.body
    *events, last = [json.loads(frame.removeprefix(b"data:")) for frame in frames(answer, b"data:")]
    assert len(events) + 1 == TOKENS
    assert all(event["generated_text"] is None and event["details"] is None for event in events)
    assert last["generated_text"] == greedy(PROMPT, TOKENS)
    assert "".join(event["token"]["text"] for event in [*events, last]) == last["generated_text"]
    assert last["details"] == {
        **{"finish_reason": "length", "generated_tokens": TOKENS, "skipped_tokens": 0, "seed": None},
        "prompt_tokens": last["details"]["prompt_tokens"],
    }


@pytest.mark.parametrize("path", ["/v1/completions", "/openai/v1/completions", "/lorax/v1/completions"])
def test_streams_under_v1_end_with_done(curl, greedy, path):  # LoRAX 13
    answer = curl(path, {"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "stream": True}, "--raw", *JSON)
    *events, last = frames(answer)
    assert last == b"[DONE]"
    assert "".join(json.loads(event)["choices"][0]["text"] for event in events) == greedy(PROMPT, TOKENS)


@pytest.mark.parametrize("path", ["/generate", "/locallab/generate"])
def test_a_locallab_stream_is_raw_text_in_data_lines_and_ends_with_done(curl, greedy, path):  # LocalLab 7, 8, 9
    body = {"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "repetition_penalty": 1, "stream": True}
    *texts, last = [frame.decode() for frame in frames(curl(path, body, "--raw", *JSON))]
    whole = greedy(PROMPT, TOKENS)
    assert last == "[DONE]" and "\n" in whole, "the prompt was chosen for its line feeds"
    assert all(text.strip() and text == text.rstrip() and "\n" not in text for text in texts)
    assert "".join(texts).replace("\\n", "\n") == whole.rstrip()


def test_a_locallab_chat_says_each_text_twice(curl):  # LocalLab 11
    body = {"messages": CHAT, "max_tokens": TOKENS, "temperature": 0}
    whole = curl("/chat", body, *JSON).json()["choices"][0]["message"]["content"]
    *pairs, last = [frame.decode().split("\n") for frame in frames(curl("/chat", body | {"stream": True}, "--raw", *JSON))]
    assert last == ["[DONE]", '"[DONE]"']
    said = [json.loads(chunk)["choices"][0] for _, chunk in pairs]
    assert all(choice["index"] == 0 for choice in said)
    assert [text.replace("\\n", "\n") for text, _ in pairs] == [choice["delta"]["content"] for choice in said]
    assert "".join(choice["delta"]["content"] for choice in said).rstrip() == whole.rstrip()


def test_litellms_endpoint_never_streams(curl, model):  # LiteLLM 12
    body = {"model": model, "params": {"prompt": PROMPT, "max_tokens": 3, "temperature": 0}, "stream": True}
    answer = curl("/litellm", body, *JSON)
    assert answer.headers["content-type"].startswith("application/json") and answer.json()["message"] == "ok"


def test_a_stream_is_not_held_back_for_compression(curl):  # OpenAI 0.5
    body = {"prompt": PROMPT, "max_tokens": 8, "stream": True}
    answer = curl("/v1/completions", body, "--raw", *JSON, "--header", "accept-encoding: gzip, deflate")
    assert "content-encoding" not in answer.headers and len(answer.chunks()) > 3
