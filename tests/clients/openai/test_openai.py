"""The unmodified openai client against a running server. Each test shows one thing a user can do."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import openai
import pytest

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
PROMPTS = [
    "The capital of France is",
    "Once upon a time",
    "def fibonacci(n):",
    "Water boils at",
    "Der schnellste Weg nach",
    "1 + 1 =",
    "Roses are red,",
    "The three primary colours are red,",
]


def complete(client, model, prompt, **options):
    return client.completions.create(model=model, prompt=prompt, **{"max_tokens": 12, "temperature": 0, **options})


def test_a_chat_is_answered(client, model):
    answer = client.chat.completions.create(model=model, messages=CAPITAL, max_tokens=24, temperature=0)
    choice = answer.choices[0]
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    assert choice.message.role == "assistant" and "Paris" in choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_chat_is_the_same_text_in_pieces(client, model):
    whole = client.chat.completions.create(model=model, messages=CAPITAL, max_tokens=16, temperature=0)
    chunks = list(
        client.chat.completions.create(model=model, messages=CAPITAL, max_tokens=16, temperature=0, stream=True)
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len({chunk.id for chunk in chunks}) == 1


def test_usage_comes_last_in_a_stream_when_asked(client, model):
    *chunks, last = client.chat.completions.create(
        model=model, messages=CAPITAL, max_tokens=4, stream=True, stream_options={"include_usage": True}
    )
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == [] and last.usage.prompt_tokens > 0 and 1 <= last.usage.completion_tokens <= 4


def test_a_chat_gives_logprobs_with_alternatives(client, model):
    answer = client.chat.completions.create(
        model=model, messages=CAPITAL, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert content and all(len(token.top_logprobs) == 3 for token in content)
    assert all(token.logprob == token.top_logprobs[0].logprob for token in content), "greedy takes the best"
    text = b"".join(bytes(token.bytes) for token in content).decode()
    assert text.startswith(answer.choices[0].message.content)


def test_a_prompt_is_completed(client, model):
    answer = complete(client, model, "The capital of France is")
    assert answer.id.startswith("cmpl-") and answer.object == "text_completion"
    assert "Paris" in answer.choices[0].text
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 12


def test_a_streamed_completion_is_the_same_text_in_pieces(client, model):
    whole = complete(client, model, "Once upon a time").choices[0].text
    assert "".join(chunk.choices[0].text for chunk in complete(client, model, "Once upon a time", stream=True)) == whole


def test_several_prompts_are_answered_in_order(client, model):
    answer = complete(client, model, PROMPTS[:3], n=2, temperature=1, seed=1, max_tokens=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3, 4, 5]


def test_echo_with_logprobs_scores_the_prompt(client, model):
    answer = complete(client, model, "The capital of France is", echo=True, logprobs=2, max_tokens=1)
    scores = answer.choices[0].logprobs
    tokens = answer.usage.prompt_tokens + 1
    assert [len(scores.tokens), len(scores.token_logprobs), len(scores.top_logprobs), len(scores.text_offset)] == [tokens] * 4
    assert scores.token_logprobs[0] is None and scores.top_logprobs[0] is None
    assert all(logprob <= 0 for logprob in scores.token_logprobs[1:])
    assert all(2 <= len(top) <= 3 for top in scores.top_logprobs[1:])
    assert "".join(scores.tokens) == answer.choices[0].text
    offsets = [sum(map(len, scores.tokens[:i])) for i in range(tokens)]
    assert scores.text_offset == offsets


def test_a_prompt_can_be_scored_without_an_answer(client, model):
    answer = complete(client, model, "The capital of France is", echo=True, logprobs=1, max_tokens=0)
    assert answer.choices[0].text == "The capital of France is"
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.prompt_tokens


def test_n_samples_differ(client, model):
    answer = client.chat.completions.create(model=model, messages=CAPITAL, n=2, max_tokens=16, temperature=1.5, seed=3)
    first, second = (choice.message.content for choice in answer.choices)
    assert first != second


def test_a_stop_string_ends_the_text_and_is_left_out(client, model):
    free = complete(client, model, "One, two, three, four,").choices[0]
    stopped = complete(client, model, "One, two, three, four,", stop=[free.text[4:7]]).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.text == free.text[: free.text.index(free.text[4:7])]


def test_the_same_seed_gives_the_same_text(client, model):
    def sample(seed):
        return complete(client, model, "My favourite animal is", temperature=1, seed=seed).choices[0].text

    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in range(3)}) > 1


def test_a_biased_token_is_taken(client, model, url):
    wanted = complete(client, model, "Roses are red,", logprobs=5, max_tokens=1).choices[0].logprobs.top_logprobs[0]
    unlikely = min(wanted, key=wanted.get)
    token = client.post(f"{url}/tokenize", body={"prompt": unlikely, "add_special_tokens": False}, cast_to=object)["tokens"]
    answer = complete(client, model, "Roses are red,", max_tokens=1, logit_bias={str(token[0]): 100})
    assert answer.choices[0].text == unlikely


def test_prompts_answered_together_equal_prompts_answered_alone(client, model):
    alone = [complete(client, model, prompt).choices[0].text for prompt in PROMPTS]
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        together = list(pool.map(lambda prompt: complete(client, model, prompt).choices[0].text, PROMPTS))
    assert together == alone


def test_models_are_listed_and_found_by_name(client, model):
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("no-such-model")
    assert raised.value.code == "model_not_found"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="no-such-model", messages=CAPITAL)
    assert raised.value.code == "model_not_found" and "no-such-model" in raised.value.message


def test_a_prompt_beyond_the_context_is_refused(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        complete(client, model, "word " * 150_000)
    assert raised.value.code == "context_length_exceeded"
    assert "maximum context length is" in raised.value.message


def test_a_wrong_key_is_refused(guarded, model):
    url, _ = guarded
    with pytest.raises(openai.AuthenticationError) as raised:
        complete(openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0), model, "Hello")
    assert raised.value.code == "invalid_api_key"


def test_a_full_queue_says_when_to_come_back(guarded, model):
    url, key = guarded
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=300)

    def ask(prompt):
        try:
            return complete(client, model, prompt, max_tokens=100)
        except openai.RateLimitError as error:
            return int(error.response.headers["retry-after"])

    with ThreadPoolExecutor(8) as pool:
        refused = [answer for answer in pool.map(ask, PROMPTS) if isinstance(answer, int)]
    assert 0 < len(refused) < len(PROMPTS) and min(refused) > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -1), ("temperature", "warm"), ("top_p", 2), ("n", 0), ("presence_penalty", 3), ("max_tokens", -5)],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_field(client, model, field, value):
    with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as raised:
        complete(client, model, "Hello", **{field: value})
    assert field in raised.value.message


def test_a_client_that_leaves_does_not_disturb_the_next(client, model):
    before = complete(client, model, "Water boils at").choices[0].text
    with complete(client, model, "Once upon a time", max_tokens=2000, stream=True) as stream:
        assert len(list(islice(stream, 3))) == 3
    assert complete(client, model, "Water boils at").choices[0].text == before


def test_a_model_may_be_an_adapter(adapted, client, model):
    other = openai.OpenAI(base_url=f"{adapted}/v1", api_key="EMPTY", max_retries=0, timeout=300)
    listed = {card.id: card for card in other.models.list()}
    assert {"one", "owner/two"} <= set(listed) and listed["one"].parent == model
    base = complete(client, model, PROMPTS[0]).choices[0].text
    answers = [complete(other, name, PROMPTS[0]) for name in ("one", "owner/two")]
    assert [answer.model for answer in answers] == ["one", "owner/two"]
    assert len({base, *(answer.choices[0].text for answer in answers)}) == 3
    with pytest.raises(openai.NotFoundError):
        complete(other, "nobody/nothing", PROMPTS[0], extra_body={"adapter_source": "local"})
