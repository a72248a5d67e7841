"""The class by which LocalLab's own command line talks to a server, unmodified."""

import asyncio
import sys
from importlib.metadata import distribution
from types import ModuleType

import pytest

# locallab and locallab.cli import the whole server, with torch, when they are opened. The class needs none of that, so
# both are entered here without their __init__.
for name in ("locallab", "locallab.cli"):
    package = sys.modules[name] = ModuleType(name)
    package.__path__ = [str(distribution("locallab").locate_file(name.replace(".", "/")))]

from locallab.cli.connection import ServerConnection  # noqa: E402

PROMPT = "Roses are red,"  # its greedy answer has line feeds
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
# max_tokens is the command line's name of the length.
PLAIN = {"max_tokens": 24, "temperature": 0.0, "repetition_penalty": 1.0}


@pytest.fixture(scope="module")
def ask(url):
    """What a method of a connection returns, or the list of what it yields."""

    async def asked(method: str, *args, **options):
        async with ServerConnection(url) as connection:
            assert connection.get_connection_status()["connected"]
            answer = getattr(connection, method)(*args, **options)
            return [chunk async for chunk in answer] if hasattr(answer, "__aiter__") else await answer

    return lambda *args, **options: asyncio.run(asked(*args, **options))


def test_the_command_line_finds_server_and_model(ask, model):  # LocalLab 16, 17
    assert ask("health_check") is True
    assert ask("get_model_info")["model_id"] == model
    assert ask("get_server_info")["active_model"] == model


def test_the_command_line_reads_a_text(ask, greedy):  # LocalLab 1, 3
    answer = ask("generate_text", PROMPT, **PLAIN)
    assert answer["text"] == greedy(PROMPT, 24) and answer["usage"]["completion_tokens"] == 24


def test_the_command_line_reads_a_stream(ask, greedy):  # LocalLab 7, 8, 9
    chunks = ask("generate_stream", PROMPT, **PLAIN)
    # It strips each line, so that white space at the front of an event is all that parts two words.
    assert "".join(chunks).replace("\\n", "\n") == greedy(PROMPT, 24).rstrip()


def test_the_command_line_chats_whole_and_streamed(ask):  # LocalLab 10, 11
    whole = ask("chat_completion", MESSAGES, **PLAIN)["choices"][0]["message"]["content"]
    chunks = ask("chat_completion_stream", MESSAGES, **PLAIN)
    assert "Paris" in whole and len(chunks) > 3
    assert "".join(chunks).replace("\\n", "\n") == whole.rstrip()


def test_the_command_line_reads_a_batch(ask, greedy):  # LocalLab 12
    prompts = [PROMPT, "The capital of France is"]
    assert ask("batch_generate", prompts, **PLAIN)["responses"] == [greedy(prompt, 24) for prompt in prompts]


def test_the_command_line_gets_nothing_where_the_server_refuses(ask):  # LocalLab 5
    assert ask("generate_text", PROMPT, temperature=2.5) is None
    assert ask("generate_stream", PROMPT, temperature=2.5) == []
