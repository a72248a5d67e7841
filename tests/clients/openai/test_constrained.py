"""Answers of a given form and calls of tools, by OpenAI's client and its own helpers. The model is too small to be asked for sense:
what is shown is that every answer is what was asked for."""

import json

import openai
import pytest
from pydantic import BaseModel

ASK = [{"role": "user", "content": "Ann is 7 years old and lives in Rome. Tell me about Ann."}]
ROOM = 160


class Person(BaseModel):
    name: str
    age: int
    likes_cats: bool


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


WEATHER = openai.pydantic_function_tool(Weather)
TIME = {"type": "function", "function": {"name": "time", "description": "The time now.", "strict": True}}
SCHEMA = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "green"]}},
    "required": ["color"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def ask(client, model) -> dict:
    return {"model": model, "messages": ASK, "max_tokens": ROOM, "temperature": 0}


def arguments(call) -> dict:
    """A call's arguments, of the tool's form."""
    given = json.loads(call.function.arguments)
    if call.function.name == "Weather":
        Weather.model_validate(given, strict=True)
    else:
        assert (call.function.name, given) == ("time", {})
    return given


def test_a_pydantic_model_is_parsed_whole_and_streamed(client, ask):
    whole = client.chat.completions.parse(**ask, response_format=Person).choices[0]
    assert isinstance(whole.message.parsed, Person) and whole.finish_reason == "stop"
    with client.chat.completions.stream(**ask, response_format=Person) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.message.parsed == whole.message.parsed


@pytest.mark.parametrize("sampled", [{"seed": 1}, {"seed": 2, "top_p": 0.9}, {"seed": 3, "top_k": 5}])
def test_a_sampled_answer_has_the_form_too(client, ask, sampled):
    top_k = {"extra_body": {"top_k": sampled.pop("top_k")}} if "top_k" in sampled else {}
    form = {"type": "json_schema", "json_schema": {"name": "color", "schema": SCHEMA, "strict": True}}
    answer = client.chat.completions.create(**ask | {"temperature": 1.5, "n": 2}, response_format=form, **sampled, **top_k)
    assert all(json.loads(choice.message.content)["color"] in ("red", "green") for choice in answer.choices)


def test_a_json_object_is_one_in_chats_and_completions(client, ask, model):
    form = {"type": "json_object"}
    chat = client.chat.completions.create(**ask, response_format=form).choices[0]
    text = client.completions.create(model=model, prompt="JSON: ", max_tokens=ROOM, extra_body={"response_format": form})
    for choice, said in [(chat, chat.message.content), (text.choices[0], text.choices[0].text)]:
        assert said.startswith("{")
        # One that the limit cuts is the beginning of one.
        assert choice.finish_reason == "length" or isinstance(json.loads(said), dict)


def test_a_schema_that_cannot_be_followed_is_a_bad_request_with_the_place(client, ask):
    schema = {"type": "object", "properties": {"x": {"type": "text"}}}
    form = {"type": "json_schema", "json_schema": {"name": "odd", "schema": schema}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ask, response_format=form)
    assert refused.value.body["param"].startswith("response_format.json_schema.schema")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "Weather"}}])
def test_a_forced_call_is_valid_whole_and_streamed(client, ask, choice):
    tools = {"tools": [WEATHER, TIME], "tool_choice": choice, "parallel_tool_calls": False}
    whole = client.chat.completions.parse(**ask, **tools).choices[0]
    (call,) = whole.message.tool_calls
    arguments(call)
    assert whole.finish_reason == "tool_calls" and whole.message.content is None and call.id
    if call.function.name == "Weather":
        assert isinstance(call.function.parsed_arguments, Weather)
    with client.chat.completions.stream(**ask, **tools) as stream:
        events = [event.type for event in stream]
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.name == call.function.name and streamed.function.arguments == call.function.arguments
    if call.function.name == "Weather":
        assert events.count("tool_calls.function.arguments.delta") > 2, "they come in pieces"


def test_every_choice_is_kept(client, ask):
    tools = {"tools": [WEATHER, TIME]}
    named = {"type": "function", "function": {"name": "time"}}
    (call,) = client.chat.completions.create(**ask, **tools, tool_choice=named).choices[0].message.tool_calls
    assert arguments(call) == {}
    none = client.chat.completions.create(**ask, **tools, tool_choice="none").choices[0].message
    assert none.tool_calls is None and none.content
    # Of a strict tool the model may call it or not, and calls it rightly.
    auto = client.chat.completions.create(**ask, **tools).choices[0]
    if auto.finish_reason == "tool_calls":
        assert all(arguments(call) is not None for call in auto.message.tool_calls)


def test_a_tools_result_goes_back_to_the_model(client, ask):
    first = client.chat.completions.create(**ask, tools=[TIME], tool_choice="required", parallel_tool_calls=False)
    said = first.choices[0].message
    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "The time is noon."}
    before = client.chat.completions.create(**ask, tools=[TIME], tool_choice="none").usage.prompt_tokens
    again = client.chat.completions.create(**ask | {"messages": [*ASK, said, result]}, tools=[TIME], tool_choice="none")
    assert again.choices[0].message.content
    assert again.usage.prompt_tokens > before, "the call and its result were read"


def test_a_wrong_tool_is_a_bad_request_with_the_place(client, ask):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ask, tools=[TIME, TIME])
    assert refused.value.body["param"] == "tools[1].function.name"


@pytest.mark.parametrize("strict", [True, False])
def test_a_model_calls_of_its_own_will(client, ask, strict):
    """Earlier calls show this small model how."""
    tool = {"type": "function", "function": {**WEATHER["function"], "strict": strict}}
    said = []
    for number, city in enumerate(["Paris", "London", "Berlin"]):
        function = {"name": "Weather", "arguments": json.dumps({"city": city, "days": 1})}
        call = {"id": str(number), "type": "function", "function": function}
        said += [
            {"role": "user", "content": f"Weather in {city}?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": str(number), "content": "Sunny."},
            {"role": "assistant", "content": "It is sunny."},
        ]
    messages = [*said, {"role": "user", "content": "Weather in Rome?"}]
    whole = client.chat.completions.create(**ask | {"messages": messages}, tools=[tool]).choices[0]
    (call,) = whole.message.tool_calls
    assert whole.finish_reason == "tool_calls" and whole.message.content is None
    assert arguments(call)["city"].startswith("Rome")
    stream = client.chat.completions.create(**ask | {"messages": messages}, tools=[tool], stream=True)
    deltas = [delta for chunk in stream for delta in chunk.choices[0].delta.tool_calls or []]
    assert deltas[0].id and deltas[0].function.name == "Weather"
    assert "".join(delta.function.arguments for delta in deltas) == call.function.arguments
