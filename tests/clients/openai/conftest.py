import pytest
from openai import OpenAI


@pytest.fixture(scope="session")
def client(url) -> OpenAI:
    # No retries: an error must be seen, not hidden.
    return OpenAI(base_url=f"{url}/v1", api_key="EMPTY", max_retries=0, timeout=300)
