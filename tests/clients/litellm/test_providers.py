"""What LiteLLM's providers that speak OpenAI or LoRAX to us can show beyond test_litellm.py: other ways to call, and the
exception that each refusal becomes."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import litellm
import pytest

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": PROMPT}]
TOKENS = 12
PLAIN = {"messages": MESSAGES, "max_tokens": TOKENS, "temperature": 0, "num_retries": 0, "max_retries": 0}
CHAT = ["openai", "hosted_vllm", "custom_openai"]


@pytest.fixture(scope="module")
def v1(url) -> dict:
    return {"api_base": f"{url}/v1", "api_key": "x"}


@pytest.fixture(scope="module")
def custom(url, model):
    """The answer of the custom provider; `more` may replace anything."""

    def custom(**more):
        return litellm.completion(**{"model": f"custom/{model}", "api_base": f"{url}/litellm", **PLAIN, **more})

    return custom


def test_the_custom_provider_joins_all_messages_to_one_prompt(custom, greedy):  # LiteLLM 3.1, 11
    parts = [{"role": "system", "content": "The capital"}, {"role": "user", "content": "of France is"}]
    assert custom(messages=parts).choices[0].message.content == greedy(PROMPT, TOKENS)


def test_the_custom_provider_is_greedy_with_one_token_to_choose_from(custom, greedy):  # LiteLLM 6, 9
    answer = custom(temperature=1.5, top_k=1, extra_body={"unknown": 1})
    assert answer.choices[0].message.content == greedy(PROMPT, TOKENS)


def test_the_custom_provider_gets_256_tokens_where_it_asks_for_none(custom, greedy):  # LiteLLM 2, 7
    assert custom(max_tokens=None).choices[0].message.content == greedy(PROMPT, 256)


def test_the_custom_provider_needs_no_prefix_and_no_key(custom, url, greedy):  # LiteLLM 1, 10
    for base in (url, f"{url}/"):
        assert custom(api_base=base).choices[0].message.content == greedy(PROMPT, TOKENS)


def test_the_custom_provider_raises_what_the_status_says(custom):  # LiteLLM 3.2, 8
    with pytest.raises(litellm.NotFoundError, match="nobody"):
        custom(model="custom/nobody")
    with pytest.raises(litellm.BadRequestError, match="top_p"):
        custom(top_p=2)
    with pytest.raises(litellm.BadRequestError):
        custom(messages=[{"role": "user", "content": "word " * 20_000}])


@pytest.mark.parametrize("provider", CHAT)
def test_an_asynchronous_stream_is_the_same_text(provider, model, v1):  # LiteLLM 14
    ask = {"model": f"{provider}/{model}", **PLAIN, **v1}

    async def streamed():
        chunks = await litellm.acompletion(**ask, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    assert asyncio.run(streamed()) == litellm.completion(**ask).choices[0].message.content


def test_a_streamed_text_completion_is_the_same_text(model, v1, greedy):  # LiteLLM 14
    ask = {"model": f"text-completion-openai/{model}", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    chunks = litellm.text_completion(**ask, **v1, stream=True)
    assert "".join(chunk.choices[0].text or "" for chunk in chunks) == greedy(PROMPT, TOKENS)


def test_an_echo_scores_the_prompt(model, v1, call):  # LiteLLM 3.3
    ask = {"model": f"text-completion-openai/{model}", "prompt": PROMPT, "max_tokens": 1, "temperature": 0}
    logprobs = litellm.text_completion(**ask, **v1, echo=True, logprobs=1).choices[0].logprobs
    same = {"prompt": PROMPT, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    assert logprobs.token_logprobs == call("/v1/completions", same)["choices"][0]["logprobs"]["token_logprobs"]


def test_vllms_own_sampling_options_are_taken(model, v1):  # LiteLLM 3.3
    ask = {"model": f"hosted_vllm/{model}", **PLAIN, **v1}
    greedy = litellm.completion(**ask).choices[0].message.content
    assert litellm.completion(**ask | {"temperature": 2}, top_k=1).choices[0].message.content == greedy


@pytest.mark.parametrize("provider", CHAT)
def test_each_refusal_has_its_class_and_names_its_cause(provider, model, v1):  # LiteLLM 15, 16
    ask = {**PLAIN, **v1, "model": f"{provider}/{model}"}
    with pytest.raises(litellm.NotFoundError, match="nobody"):
        litellm.completion(**ask | {"model": f"{provider}/nobody"})
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(**ask | {"temperature": 3})
    with pytest.raises(litellm.ContextWindowExceededError, match="maximum context length"):
        litellm.completion(**ask | {"messages": [{"role": "user", "content": "word " * 20_000}]})


def test_a_wrong_key_and_a_full_queue_have_their_classes(guarded, model):  # LiteLLM 13
    url, key = guarded
    ask = {**PLAIN, "model": f"openai/{model}", "api_base": f"{url}/v1", "max_tokens": 100}
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**ask, api_key="wrong")

    def answer(_):
        try:
            return litellm.completion(**ask, api_key=key).choices[0].message.content
        except litellm.RateLimitError:
            return None

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, range(8)))
    assert None in answers and any(answers)


@pytest.mark.parametrize("base", ["", "/lorax"])
def test_predibase_asks_lorax(base, url, model, call, monkeypatch):  # LiteLLM 3.3, LoRAX 28
    monkeypatch.setenv("PREDIBASE_TENANT_ID", "somebody")
    ask = {"model": f"predibase/{model}", "api_base": url + base, "api_key": "x", "tenant_id": "somebody", **PLAIN}
    whole = litellm.completion(**ask)
    chunks = litellm.completion(**ask, stream=True)
    text = whole.choices[0].message.content
    assert text and "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert 0 < whole.usage.completion_tokens <= TOKENS


@pytest.mark.parametrize("provider", CHAT)
def test_a_response_format_reaches_us(provider, v1, model):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "ok", "schema": schema, "strict": True}}
    ask = PLAIN | {"max_tokens": 40, "response_format": form}
    answer = litellm.completion(model=f"{provider}/{model}", **v1, **ask)
    assert json.loads(answer.choices[0].message.content)["ok"] in (True, False)
