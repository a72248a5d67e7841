import json
import subprocess
from typing import NamedTuple

import pytest


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)

    def chunks(self) -> list[bytes]:
        """The body as it was flushed: the chunks of HTTP/1.1's chunked coding, which `--raw` leaves in place."""
        chunks, rest = [], self.body
        while rest:
            size, rest = rest.split(b"\r\n", 1)
            chunks.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        assert chunks.pop() == b"", "the last chunk is empty"
        return chunks


@pytest.fixture(scope="session")
def curl(url):
    """Runs curl; `options` stand before the address. A body that is no text is sent as JSON."""

    def curl(path: str, body=None, *options: str) -> Answer:
        command = ["curl", "--silent", "--show-error", "--include", "--no-buffer", "--max-time", "300", *options]
        if body is not None:
            command += ["--data-binary", body if isinstance(body, str) else json.dumps(body)]
        done = subprocess.run([*command, url + path], capture_output=True, timeout=310, check=True)
        head, body = done.stdout.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return Answer(int(first.split()[1]), headers, body)

    return curl
