"""The running server that the tests talk to: TINDERBOX_URL, as set by scripts/with-server.sh."""

import os

import pytest
from openai import OpenAI


@pytest.fixture(scope="session")
def url() -> str:
    if "TINDERBOX_URL" not in os.environ:
        pytest.exit("TINDERBOX_URL is not set; run scripts/with-server.sh MODEL pytest tests/clients", returncode=2)
    return os.environ["TINDERBOX_URL"]


@pytest.fixture(scope="session")
def client(url) -> OpenAI:
    # No retries: an error must be seen, not hidden.
    return OpenAI(base_url=f"{url}/v1", api_key="EMPTY", max_retries=0, timeout=300)


@pytest.fixture(scope="session")
def model(client) -> str:
    return client.models.list().data[0].id
