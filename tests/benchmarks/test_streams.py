"""The careful client refuses gateways that answer wrongly."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.gateway.load import CASES
from benchmarks.gateway.streams import WrongAnswer, check

BY_NAME = {case.name: case for case in CASES}


def content(number: int) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"word%02d "}}]}\n\n' % number


CONTENT = [content(number) for number in range(20)]
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":20}}\n\n'
DONE = b"data: [DONE]\n\n"

Serve = Callable[[bytes, int], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A gateway that answers everything with the same bytes."""
    servers: list[ThreadingHTTPServer] = []

    def run(body: bytes, status: int = 200) -> str:
        class Fixed(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Fixed)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/v1/chat/completions"

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_whole_stream_is_accepted(serve: Serve) -> None:
    first = check(BY_NAME["stream-1"], serve(b"".join([*CONTENT, USAGE, DONE]), 200), {}, samples=1)
    assert first is not None
    assert first > 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"".join([*CONTENT[:-1], USAGE, DONE]), "19 content chunks"),
        (b"".join([*CONTENT, CONTENT[3], USAGE, DONE]), "21 content chunks"),
        (b"".join([CONTENT[1], CONTENT[0], *CONTENT[2:], USAGE, DONE]), "20 content chunks arrived, not"),
        (b"".join([*CONTENT, USAGE]), r"\[DONE\] is missing"),
        (b"".join([*CONTENT, DONE]), "came 0 times"),
        (b"".join([*CONTENT, USAGE, USAGE, DONE]), "came 2 times"),
        (b"".join([*CONTENT, DONE, USAGE]), r"follows \[DONE\]"),
        (b"data: no json\n\n", "JSONDecodeError"),
    ],
)
def test_a_stream_that_is_not_the_providers_is_refused(serve: Serve, body: bytes, reason: str) -> None:
    with pytest.raises(WrongAnswer, match=reason):
        check(BY_NAME["stream-1"], serve(body, 200), {}, samples=1)


def test_a_stream_that_is_held_back_is_refused(serve: Serve) -> None:
    with pytest.raises(WrongAnswer, match="held back"):
        check(BY_NAME["paced-64"], serve(b"".join([*CONTENT, USAGE, DONE]), 200), {}, samples=1)


def test_a_refusal_is_told_with_its_status(serve: Serve) -> None:
    with pytest.raises(WrongAnswer, match="status 401"):
        check(BY_NAME["plain-1"], serve(b'{"error":{}}', 401), {})
