"""LiteLLM, unmodified: its custom provider and those that speak OpenAI. The numbers are the lines of docs/dialects/litellm.md."""

import litellm
import pytest

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": PROMPT}]
TOKENS = 12
OPENAI = ["openai", "hosted_vllm", "custom_openai"]
litellm.num_retries = 0


def custom(url, model, **more):
    ask = {"messages": MESSAGES, "max_tokens": TOKENS, "temperature": 0, "api_base": f"{url}/litellm", **more}
    return litellm.completion(model=f"custom/{model}", **ask)


def test_the_custom_provider_gives_the_continuation(url, model, greedy):  # 1, 6, 7, 11
    assert custom(url, model).choices[0].message.content == greedy(PROMPT, TOKENS)
    assert custom(url, model, api_base=url).choices[0].message.content == greedy(PROMPT, TOKENS)


def test_a_stream_of_the_custom_provider_succeeds(url, model, greedy):  # 12
    answer = custom(url, model, stream=True)
    assert answer.choices[0].message.content == greedy(PROMPT, TOKENS)


def test_an_unknown_model_is_not_found(url):  # 8
    with pytest.raises(litellm.NotFoundError):
        custom(url, "nobody/nothing")


@pytest.mark.parametrize("provider", OPENAI)
def test_an_openai_provider_whole_and_streamed(provider, url, model):  # 14, 17
    ask = {"model": f"{provider}/{model}", "messages": MESSAGES, "max_tokens": TOKENS, "temperature": 0}
    ask |= {"api_base": f"{url}/v1", "api_key": "x"}
    whole = litellm.completion(**ask)
    usage = whole.usage
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens and usage.completion_tokens > 0
    chunks = litellm.completion(**ask, stream=True, stream_options={"include_usage": True})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content


def test_text_completion_with_logprobs(url, model, greedy):  # 14
    ask = {"model": f"text-completion-openai/{model}", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    answer = litellm.text_completion(**ask, api_base=f"{url}/v1", api_key="x", logprobs=1)
    assert answer.choices[0].text == greedy(PROMPT, TOKENS)
    assert len(answer.choices[0].logprobs.token_logprobs) == TOKENS


def test_errors_have_their_classes(url, model):  # 15, 16
    ask = {"api_base": f"{url}/v1", "api_key": "x", "max_retries": 0}
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(model=f"openai/{model}", messages=[{"role": "user", "content": "word " * 20000}], **ask)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(model="openai/nobody", messages=MESSAGES, **ask)
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(model=f"openai/{model}", messages=MESSAGES, temperature=3, **ask)
