"""Bad input of every kind: a clear error in OpenAI's shape with a request id, never a 500, and nobody else notices."""

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server

_REQUEST_ID = re.compile(rb"\r\nx-request-id: (req_[0-9a-f]{32})\r\n", re.IGNORECASE)
_LIMIT = 10 * 1024 * 1024


async def _exchange(server: "Server", *pieces: bytes, pause_s: float = 0, wait_s: float = 60) -> bytes:
    """Send bytes as they are, and read until the server closes or the answer is complete."""
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    received = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            reading = asyncio.create_task(_read_answer(reader, received))
            for piece in pieces:
                if reading.done():
                    break
                writer.write(piece)
                try:
                    await writer.drain()
                except ConnectionError:
                    break
                if pause_s:
                    await asyncio.sleep(pause_s)
            await reading
    finally:
        writer.close()
    return bytes(received)


async def _read_answer(reader: asyncio.StreamReader, received: bytearray) -> None:
    while True:
        try:
            piece = await reader.read(65536)
        except ConnectionError:
            return
        received += piece
        head, found, body = bytes(received).partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not piece or (found and length and len(body) >= int(length[1])):
            return


def _post(server: "Server", body: bytes, *headers: str, length: int | None = None) -> bytes:
    declared = [f"content-length: {len(body) if length is None else length}"]
    if any("transfer-encoding" in header for header in headers):
        declared = []
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: auterity",
        f"authorization: Bearer {server.api_key}",
        "content-type: application/json",
        *declared,
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _is_clear(answer: bytes, status: int, code: str | None = None) -> dict[str, Any]:
    """The answer is this error, in OpenAI's shape and with a request id."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:300]
    assert _REQUEST_ID.search(head + b"\r\n"), head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "Traceback" not in error["message"]
    if code is not None:
        assert error["code"] == code
    return error


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"nonsense", None),
        (b'"text"', None),
        (b"[]", None),
        (b"null", None),
        (b"\xff\xfe{}", None),
        (b'{"model": "sandbox-small", "messages": [{"role": "user", "content": "\xc3\x28"}]}', None),
        (b'{"model": 7, "messages": []}', "model"),
        (b'{"model": "", "messages": [{"role": "user"}]}', "model"),
        (b'{"model": "sandbox-small", "messages": {"role": "user"}}', "messages"),
        (b'{"model": "sandbox-small", "messages": [7]}', "messages"),
        (b'{"model": "sandbox-small", "messages": [{"role": "user", "content": "a"}], "n": 1e99}', "n"),
        (b'{"model": "sandbox-small", "messages": [{"role": "user", "content": "a"}], "max_tokens": -1}', "max_tokens"),
        (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (b'{"model": "sandbox-small", "messages": [{"role": "user", "content": ' + b'{"a":' * 100_000, None),
        (b'{"model": "sandbox-small", "messages": [{"role":"user","content":"a"}], "x": ' + b"[" * 100_000, None),
        (b'{"model": "x\x00y", "messages": [{"role": "user", "content": "a"}]}', None),
    ],
)
async def test_a_bad_body_is_a_clear_400(server: "Server", body: bytes, param: str | None) -> None:
    error = _is_clear(await _exchange(server, _post(server, body)), 400, "invalid_request")
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"].startswith(param)


async def test_deep_nesting_where_it_is_well_formed_does_no_harm(server: "Server", say: "Say") -> None:
    deep = (
        b'{"model":"sandbox-small","messages":[{"role":"user","content":"a"}],"x":' + b"[" * 9000 + b"]" * 9000 + b"}"
    )
    answer = await _exchange(server, _post(server, deep))
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]


@pytest.mark.parametrize("name", ["a" * 300, "no such", "näme", "a\\u0000b", "../../etc/passwd", "\\ud800"])
async def test_an_odd_model_name_is_refused(server: "Server", name: str) -> None:
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "a"}}]}}'.encode()
    answer = await _exchange(server, _post(server, body))
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), answer[:300]
    _is_clear(answer, int(answer[9:12]))


async def test_a_body_over_the_limit_is_refused_by_its_declared_length(server: "Server") -> None:
    answer = await _exchange(server, _post(server, b"{", length=_LIMIT + 1))
    _is_clear(answer, 413, "request_too_large")


async def test_a_body_over_the_limit_is_refused_while_it_comes_in_chunks(server: "Server") -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = _post(server, b"", "transfer-encoding: chunked")
    _is_clear(await _exchange(server, head, *[chunk] * 200), 413, "request_too_large")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET /v1/models HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nbad name: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n",
        b"GET /v1/mo dels HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_clean_http_is_refused(server: "Server", request_bytes: bytes) -> None:
    _is_clear(await _exchange(server, request_bytes), 400)


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"-5\r\nhello\r\n", b"5\r\nhello!!\r\n0\r\n\r\n"])
async def test_chunked_nonsense_is_refused(server: "Server", chunks: bytes) -> None:
    answer = await _exchange(server, _post(server, chunks, "transfer-encoding: chunked"))
    _is_clear(answer, 400)


async def test_a_head_without_end_is_refused(server: "Server") -> None:
    head = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n"
    _is_clear(await _exchange(server, head, *[b"x-filler: " + b"a" * 8000 + b"\r\n"] * 20), 431)


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\nx-injected: 1", "é", "a" * 2000])
async def test_tags_cannot_inject_headers(server: "Server", say: "Say", value: str) -> None:
    body = json.dumps({"model": "sandbox-small", "messages": say("Hello")}).encode()
    answer = await _exchange(server, _post(server, body, f"x-auterity-tags: t={value}"))
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]
    assert b"x-injected" not in answer.partition(b"\r\n\r\n")[0]


async def test_what_callers_write_does_not_come_back_in_headers(server: "Server") -> None:
    body = b'{"model": "a\\r\\nx-injected: 1", "messages": [{"role": "user", "content": "a"}]}'
    answer = await _exchange(server, _post(server, body))
    _is_clear(answer, 404, "model_not_found")
    assert b"x-injected" not in answer.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/", 404),
        ("POST", "/v1/models", 405),
        ("DELETE", "/v1/chat/completions", 405),
        ("PATCH", "/v1/embeddings", 405),
        ("GET", "/v1/models/%00", 401),
        ("GET", "/v1/models/%ff%fe", 401),
        ("BREW", "/v1/models", 400),
    ],
)
async def test_unknown_paths_and_methods(server: "Server", method: str, path: str, status: int) -> None:
    request = f"{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode()
    _is_clear(await _exchange(server, request), status)


async def test_models_with_odd_names_are_not_found(server: "Server") -> None:
    for name in ("%00", "%ff%fe", "..%2f..", "a" * 5000):
        head = f"GET /v1/models/{name} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {server.api_key}\r\n\r\n"
        _is_clear(await _exchange(server, head.encode()), 404, "model_not_found")


@pytest.mark.slow
async def test_who_sends_slowly_is_sent_away_and_holds_up_nobody(server: "Server", say: "Say") -> None:
    """A slow head, and a body that stops in the middle, side by side."""
    body = json.dumps({"model": "sandbox-small", "messages": say("Hello")}).encode()
    head = _post(server, body)[: -len(body)]
    drip = [b"x-%d: a\r\n" % index for index in range(200)]
    slow_head = asyncio.create_task(_exchange(server, b"GET /v1/models HTTP/1.1\r\n", *drip, pause_s=0.3, wait_s=60))
    slow_body = asyncio.create_task(_exchange(server, head, *[b" "] * 90, pause_s=0.3, wait_s=60))
    begun = time.monotonic()
    async with server.async_sdk() as client:
        for _ in range(3):
            await client.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    assert time.monotonic() - begun < 10
    _is_clear(await slow_head, 408, "request_timeout")
    _is_clear(await slow_body, 408, "request_timeout")


async def test_pipelined_calls_are_answered_in_their_order(server: "Server", say: "Say") -> None:
    one = json.dumps({"model": "sandbox-small", "messages": say("One")}).encode()
    requests = (
        _post(server, one) + _post(server, b"{") + b"GET /v1/nothing HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    )
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(requests)
    answers = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"400", b"404"]


async def test_after_all_that_the_server_is_well(server: "Server") -> None:
    assert server.http.get("/health/ready").json()["status"] == "ready"
    assert len(server.workers) == 1
