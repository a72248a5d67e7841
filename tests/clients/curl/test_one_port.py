"""Five dialects on one port, as curl sees them: whose answer a path gives, whose errors, and which headers."""

import base64
import subprocess

import pytest

PROMPT = "The capital of France is"
JSON = ("--header", "content-type: application/json")


def post(curl, path, body, *options):
    return curl(path, body, *JSON, *options)


def test_keys_of_the_body_choose_the_dialect_at_the_root(curl, greedy):  # LoRAX 1, LiteLLM 1
    text = greedy(PROMPT, 3)
    lorax = post(curl, "/", {"inputs": PROMPT, "parameters": {"max_new_tokens": 3}}).json()
    assert lorax == [{"generated_text": text}]
    litellm = post(curl, "/", {"params": {"prompt": PROMPT, "max_tokens": 3, "temperature": 0}}).json()
    assert litellm["data"][0]["output"] == [text]
    assert 400 <= post(curl, "/", {}).status < 500
    assert 400 <= post(curl, "/", {"inputs": "a", "params": {"prompt": "a"}}).status < 500


def test_keys_of_the_body_choose_the_dialect_of_generate(curl, greedy):  # LoRAX 1, LocalLab 1
    text = greedy(PROMPT, 3)
    lorax = post(curl, "/generate", {"inputs": PROMPT, "parameters": {"max_new_tokens": 3}}).json()
    assert lorax == {"generated_text": text}
    plain = {"prompt": PROMPT, "max_tokens": 3, "temperature": 0, "repetition_penalty": 1}
    locallab = post(curl, "/generate", plain).json()
    assert locallab["response"] == locallab["text"] == text and locallab["model"] == locallab["model_id"]
    assert "choices" not in locallab
    usage = locallab["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert 400 <= post(curl, "/generate", {}).status < 500
    assert post(curl, "/generate", {"prompt": "a", "inputs": "a"}).status == 400


def test_keys_of_the_body_choose_the_dialect_of_tokenize(curl):  # lm-eval 2, LoRAX 26, TextSynth 23
    ids = post(curl, "/tokenize", {"prompt": PROMPT, "add_special_tokens": False}).json()["tokens"]
    lorax = post(curl, "/tokenize", {"inputs": PROMPT, "add_special_tokens": False}).json()
    assert [token["id"] for token in lorax] == ids
    assert all(PROMPT[token["start"] : token["stop"]] == token["text"] for token in lorax)


def test_textsynth_reads_json_whatever_the_content_type(curl, model, greedy):  # TextSynth 1, 3, 6, 7, 10
    text, path = greedy(PROMPT, 12), f"/v1/engines/{model}/completions"
    body = {"prompt": PROMPT, "max_tokens": 12, "top_k": 1}
    for header in ("content-type: application/x-www-form-urlencoded", "content-type:"):
        answer = curl(path, body, "--header", header).json()
        assert (answer["text"], answer["finish_reason"], answer["reached_end"]) == (text, "length", True)
    stop = text[4:7]
    for value in (stop, [stop, "never"]):
        answer = curl(path, body | {"stop": value}).json()
        assert (answer["text"], answer["finish_reason"]) == (text[: text.index(stop)], "stop")


def test_textsynth_gives_n_texts(curl, model):  # TextSynth 4, 14
    path = f"/v1/engines/{model}/completions"
    body = {"prompt": PROMPT, "max_tokens": 8, "n": 3, "seed": 5}
    first, second = (curl(path, body).json()["text"] for _ in range(2))
    assert len(first) == 3 and first == second and len(set(first)) > 1
    assert curl(path, body | {"seed": 2**31}).status == 400


def test_textsynth_keeps_the_tail_of_a_long_prompt(curl, call, model):  # TextSynth 8, 9
    path, prompt, room = f"/v1/engines/{model}/completions", "word " * 100 + PROMPT, 32
    body = {"prompt": prompt, "top_k": 1, "stop": ["."]}
    answer = curl(path, body | {"max_tokens": 8192 - room}).json()
    assert answer["truncated_prompt"] is True and answer["input_tokens"] == room
    tail = call("/tokenize", {"prompt": prompt, "add_special_tokens": False})["tokens"][-room:]
    same = {"prompt": tail, "temperature": 0, "stop": ["."], "max_tokens": 8192 - room}
    assert answer["text"] == call("/v1/completions", same)["choices"][0]["text"]
    assert "truncated_prompt" not in curl(path, body | {"max_tokens": 1}).json()


def test_textsynth_scores_as_an_echo_does(curl, call, model):  # TextSynth 18, 19, 20, 21
    path, after = f"/v1/engines/{model}/logprob", " Paris"
    score = curl(path, {"context": PROMPT, "continuation": after}).json()
    echo = {"prompt": PROMPT + after, "echo": True, "logprobs": 1, "max_tokens": 0}
    logprobs = call("/v1/completions", echo)["choices"][0]["logprobs"]["token_logprobs"]
    assert score["num_tokens"] == 1 and score["input_tokens"] == score["total_tokens"] == len(logprobs)
    assert score["logprob"] == pytest.approx(logprobs[-1], abs=1e-4)
    assert score["is_greedy"] is True
    assert curl(path, {"context": PROMPT, "continuation": " Madrid"}).json()["is_greedy"] is False
    assert curl(path, {"context": "", "continuation": after}).json()["logprob"] < 0
    assert curl(path, {"context": PROMPT, "continuation": ""}).status == 400


def test_textsynth_tells_tokens_and_credits(curl, model):  # TextSynth 23, 25
    body = {"text": "naïve 日本", "token_content_type": "base64"}
    answer = curl(f"/v1/engines/{model}/tokenize", body).json()
    assert b"".join(map(base64.b64decode, answer["token_content"])).decode() == "naïve 日本"
    assert len(answer["tokens"]) == len(answer["token_content"])
    assert isinstance(curl("/v1/credits").json()["credits"], int)


@pytest.mark.parametrize(
    ("path", "body", "status", "keys"),
    [
        ("/v1/completions", {"prompt": "a", "temperature": -1}, 400, {"error"}),
        ("/v1/engines/nobody/completions", {"prompt": "a"}, 404, {"status", "error"}),  # TextSynth 24, 26
        ("/v1/engines/MODEL/completions", {"prompt": "a", "top_k": 1001}, 400, {"status", "error"}),  # TextSynth 5
        ("/v1/engines/MODEL/completions", {"prompt": "a", "n": 17}, 400, {"status", "error"}),
        ("/generate", {"inputs": "a", "parameters": {"top_p": 1.1}}, 422, {"error", "error_type"}),  # LoRAX 10
        ("/generate", {"inputs": ""}, 422, {"error", "error_type"}),  # LoRAX 11
        ("/generate", {"inputs": "a", "parameters": {"max_new_tokens": 0}}, 422, {"error", "error_type"}),  # LoRAX 9
        ("/generate", {"inputs": "a", "parameters": {"adapter_id": "nobody"}}, 424, {"error", "error_type"}),  # LoRAX 17
        ("/generate", {"prompt": "a", "temperature": 2.5}, 400, {"detail"}),  # LocalLab 5
        ("/generate", {"prompt": "word " * 20_000}, 413, {"detail"}),  # LocalLab 6
        ("/locallab/generate", {}, 400, {"detail"}),
        ("/generate", {"prompt": "a", "model_id": "nobody"}, 404, {"detail"}),
        ("/litellm", {"model": "nobody", "params": {"prompt": "a"}}, 404, {"error", "status"}),  # LiteLLM 8
        ("/litellm", {"params": {"prompt": "a", "top_p": 2}}, 400, {"error", "status"}),
    ],
)
def test_an_error_is_told_in_the_dialect_of_the_request(curl, model, path, body, status, keys):
    answer = post(curl, path.replace("MODEL", model), body)
    assert (answer.status, answer.json().keys()) == (status, keys), answer.body
    assert all(value for value in answer.json().values())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"prompt": "a", "max_length": None, "model_id": None, "max_time": 0.01, "unknown": 1}),  # LocalLab 2
        ("/generate", {"inputs": "a", "parameters": {"max_new_tokens": 1, "top_k": None, "stop": None}}),  # LoRAX 2
        ("/litellm", {"params": {"prompt": "a", **dict.fromkeys(["max_tokens", "temperature", "top_p", "top_k"])}}),  # LiteLLM 2
    ],
)
def test_null_is_absent(curl, path, body):
    assert post(curl, path, body).status == 200


def test_three_prompts_have_three_answers_in_order(curl, greedy):  # LiteLLM 3, 4, 5, 6
    prompts = [PROMPT, "1, 2, 3,", "Once upon a time"]
    asked = {"prompt": prompts, "max_tokens": 5, "temperature": 1, "top_k": 1, "top_p": 1}
    answer = post(curl, "/litellm", {"params": asked}).json()
    assert [item["prompt"] for item in answer["data"]] == prompts
    assert [item["output"] for item in answer["data"]] == [[greedy(prompt, 5)] for prompt in prompts]
    assert all(item["params"] == {"temperature": 1, "top_k": 1, "top_p": 1} for item in answer["data"])


def test_a_batch_keeps_its_order(curl, greedy):  # LocalLab 12
    prompts = [PROMPT, "1, 2, 3,", "Once upon a time"]
    body = {"prompts": prompts, "max_tokens": 5, "do_sample": False, "repetition_penalty": 1}  # LocalLab 4
    assert post(curl, "/generate/batch", body).json()["responses"] == [greedy(prompt, 5) for prompt in prompts]
    assert post(curl, "/generate/batch", {"prompts": []}).json()["responses"] == []


def test_every_answer_tells_its_time_and_count(curl):  # LocalLab 17, 18
    first, second = curl("/health"), curl("/nothing")
    for answer in (first, second):
        assert float(answer.headers["x-process-time"]) >= 0
    assert int(second.headers["x-request-count"]) > int(first.headers["x-request-count"])


def test_a_page_of_any_origin_may_ask(curl):  # LocalLab 22
    ask = ["origin: http://example.test", "access-control-request-method: POST", "access-control-request-headers: authorization,content-type"]
    answer = curl("/generate", None, "--request", "OPTIONS", *[part for header in ask for part in ("--header", header)])
    assert answer.status in (200, 204) and answer.headers["access-control-allow-origin"] in ("*", "http://example.test")
    assert "authorization" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/locallab/nothing", None, 404),  # LocalLab 23
        ("/generate", None, 405),
        ("/litellm", None, 405),  # LiteLLM 18
        ("/v1/engines/MODEL/translate", {"text": ["a"]}, 404),  # TextSynth 2.4
    ],
)
def test_what_is_not_there_is_refused(curl, model, path, body, status):
    answer = curl(path.replace("MODEL", model), body)
    assert answer.status == status and answer.json()


def test_health_and_liveness_serve_everybody(curl):  # LocalLab 16, LoRAX 24
    assert curl("/health").json()["status"] == "healthy"
    for path in ("/", "/ping", "/startup", "/lorax/health"):
        assert curl(path).status == 200
    info = curl("/info").json()
    assert info["max_input_length"] < info["max_total_tokens"] and isinstance(info["version"], str)


def test_a_native_answer_has_its_measures_in_headers(curl, model):  # LoRAX 4.2
    headers = post(curl, "/generate", {"inputs": PROMPT, "parameters": {"max_new_tokens": 3}}).headers
    assert headers["x-model-id"] == model and headers["x-generated-tokens"] == "3"
    assert int(headers["x-prompt-tokens"]) + 3 == int(headers["x-total-tokens"])


def test_a_client_that_leaves_a_stream_frees_its_place(curl, call, model):  # LocalLab 20
    with pytest.raises(subprocess.CalledProcessError):
        post(curl, "/generate", {"prompt": "Once upon a time", "stream": True, "max_tokens": 8000, "do_sample": False}, "--max-time", "1")
    for _ in range(50):
        if call("/health")["details"]["running"] == "0":
            return
    pytest.fail("the sequence still runs")
