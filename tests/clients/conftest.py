"""The running server that the tests talk to: TINDERBOX_URL, as set by scripts/with-server.sh. Standard library only:
each folder's tests run in an environment of their own."""

import json
import os
import random
import struct
import subprocess
import urllib.request
from array import array
from contextlib import contextmanager
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
    with serving(command, {"TINDERBOX_API_KEY": "secret"}) as address:
        yield address, "secret"


@pytest.fixture(scope="session")
def adapted(tmp_path_factory):
    """A second server of the same model with the adapters `one` and `owner/two`; its address."""
    folder = tmp_path_factory.mktemp("adapters")
    write_adapter(folder / "one", 1)
    write_adapter(folder / "owner" / "two", 2)
    binary = os.environ.get("TINDERBOX", Path(__file__).parents[2] / "target/release/tinderbox")
    with serving([binary, "serve", "--port", "0", "--adapters", folder], {}) as address:
        yield address


@contextmanager
def serving(command, variables):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=os.environ | variables, **options) as server:
        try:
            yield next(line.split()[-1] for line in server.stdout if "address" in line)
        finally:
            server.kill()


def write_adapter(folder: Path, seed: int, rank: int = 4):
    """An adapter of random numbers in PEFT's form for SmolLM2-135M's queries and values."""
    chance = random.Random(seed)
    header, data = {}, bytearray()
    for layer in range(30):
        for part, outputs in [("q_proj", 576), ("v_proj", 192)]:
            for half, shape in [("lora_A", (rank, 576)), ("lora_B", (outputs, rank))]:
                numbers = array("f", (chance.uniform(-0.2, 0.2) for _ in range(shape[0] * shape[1])))
                name = f"base_model.model.model.layers.{layer}.self_attn.{part}.{half}.weight"
                ends = [len(data), len(data) + 4 * len(numbers)]
                header[name] = {"dtype": "F32", "shape": shape, "data_offsets": ends}
                data += numbers.tobytes()
    described = json.dumps(header).encode()
    folder.mkdir(parents=True)
    tensors = struct.pack("<Q", len(described)) + described + data
    (folder / "adapter_model.safetensors").write_bytes(tensors)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
