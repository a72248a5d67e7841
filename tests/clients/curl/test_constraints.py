"""TextSynth's grammar and schema, which no client of its own sends. The numbers are the lines of docs/dialects/textsynth.md."""

import json

import pytest

GRAMMAR = 'root ::= "yes" | "no"'
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
PROMPT = "Is the sky blue? "


def test_a_grammar_has_one_of_its_texts(curl, model):  # 17
    for options in [{"temperature": 0}, {"temperature": 2, "seed": 1, "n": 3}]:
        body = {"prompt": PROMPT, "grammar": GRAMMAR, "max_tokens": 20, **options}
        answer = curl(f"/v1/engines/{model}/completions", body).json()
        texts = answer["text"] if "n" in options else [answer["text"]]
        assert set(texts) <= {"yes", "no"}
        assert answer["finish_reason"] in ("stop", ["stop"] * 3)


def test_a_schema_has_json_that_fits(curl, model):  # 17
    # It counts before a grammar.
    body = {"prompt": PROMPT, "schema": SCHEMA, "grammar": GRAMMAR, "max_tokens": 60, "temperature": 0}
    answer = curl(f"/v1/engines/{model}/completions", body).json()
    assert answer["finish_reason"] == "length" or isinstance(json.loads(answer["text"])["n"], int)
    assert answer["text"].startswith("{")


@pytest.mark.parametrize("field", [{"grammar": "root ::= ("}, {"schema": {"type": "text"}}])
def test_what_cannot_be_followed_is_refused(curl, model, field):  # 17
    answer = curl(f"/v1/engines/{model}/completions", {"prompt": PROMPT, **field})
    assert answer.status == 400 and answer.json()["status"] == 400
    assert answer.json()["error"].startswith(next(iter(field)))
