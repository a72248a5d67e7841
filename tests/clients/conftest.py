"""The running server that the tests talk to: TINDERBOX_URL, as set by scripts/with-server.sh. Standard library only:
each folder's tests run in an environment of their own."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def url() -> str:
    if "TINDERBOX_URL" not in os.environ:
        pytest.exit("TINDERBOX_URL is not set; run scripts/with-server.sh MODEL pytest tests/clients", returncode=2)
    return os.environ["TINDERBOX_URL"]


@pytest.fixture(scope="session")
def call(url):
    """Posts a JSON body, or gets where there is none; answers with the JSON."""

    def call(path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    return call


@pytest.fixture(scope="session")
def model(call) -> str:
    return call("/v1/models")["data"][0]["id"]


@pytest.fixture(scope="session")
def greedy(call):
    """What the model says most likely: the text that every dialect must give for the same prompt."""

    def greedy(prompt: str, tokens: int) -> str:
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0}
        return call("/v1/completions", body)["choices"][0]["text"]

    return greedy


@pytest.fixture(scope="session")
def guarded():
    """A second server of the same model, which wants a key and runs one sequence at a time; its address and the key."""
    binary = os.environ.get("TINDERBOX", Path(__file__).parents[2] / "target/release/tinderbox")
    command = [binary, "serve", "--port", "0", "--max-sequences", "1", "--max-queue", "0"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=os.environ | {"TINDERBOX_API_KEY": "secret"}, **options) as server:
        try:
            yield next(line.split()[-1] for line in server.stdout if "address" in line), "secret"
        finally:
            server.kill()
