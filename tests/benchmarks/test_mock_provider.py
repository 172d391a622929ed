"""The mock provider, as a process of its own on loopback."""

import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway.load import CASES
from benchmarks.gateway.streams import check, time_stream
from benchmarks.mock_provider import CHUNKS
from benchmarks.processes import free_port, start

ROOT = Path(__file__).resolve().parents[2]
BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    number = free_port()
    started = start(
        [sys.executable, "-m", "benchmarks.mock_provider", "--port", str(number)],
        log=tmp_path_factory.mktemp("mock") / "output.log",
        core=None,
        ready_url=f"http://127.0.0.1:{number}/mock/stats",
        cwd=ROOT,
    )
    yield number
    started.stop()


def ask(port: int, body: object, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def events(stream: bytes) -> list[Any]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [line if line == b"[DONE]" else json.loads(line) for line in lines]


def answered(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/mock/stats")
    count = json.loads(connection.getresponse().read())["answered"]
    connection.close()
    return count


def test_a_plain_answer_is_openai_shaped_and_about_600_bytes(port: int) -> None:
    status, body = ask(port, {"model": "gpt-4o-mini", "messages": []})
    assert status == 200
    assert 500 < len(body) < 700
    assert json.loads(body)["choices"][0]["finish_reason"] == "stop"
    assert json.loads(body)["usage"]["total_tokens"] == 24 + CHUNKS


@pytest.mark.parametrize("include", [True, False])
def test_the_usage_chunk_comes_only_where_it_was_asked_for(port: int, include: bool) -> None:
    status, body = ask(port, {"stream": True, "stream_options": {"include_usage": include}})
    found = events(body)
    assert status == 200
    assert found[-1] == b"[DONE]"
    assert len(found) == CHUNKS + include + 1
    assert [bool(event.get("usage")) for event in found[:-1]] == [False] * CHUNKS + [True] * include


@pytest.mark.parametrize("name", list(BY_NAME))
def test_the_mock_passes_the_check_that_gateways_must_pass(port: int, name: str) -> None:
    first = check(BY_NAME[name], f"http://127.0.0.1:{port}/v1/chat/completions", {}, samples=1)
    assert (first is not None) == BY_NAME[name].stream


def test_a_paced_stream_takes_its_time(port: int) -> None:
    timing = time_stream(BY_NAME["paced-64"], f"http://127.0.0.1:{port}/v1/chat/completions", {})
    assert timing.last_ms - timing.first_ms >= (CHUNKS - 1) * 4


def test_the_pace_can_be_asked_for_in_a_header(port: int) -> None:
    began = time.perf_counter()
    status, _ = ask(port, {"stream": True}, **{"x-mock-pace-ms": "3"})
    assert status == 200
    assert time.perf_counter() - began >= (CHUNKS - 1) * 0.0025


def test_requests_in_single_bytes_and_several_at_once_are_all_answered(port: int) -> None:
    body = b'{"stream":false}'
    one = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    chunked = (
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\n1\r\n \r\n0\r\n\r\n"
    )
    before = answered(port)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(len(one)):
            peer.sendall(one[number : number + 1])
        peer.sendall(one + chunked + one[:40])
        peer.sendall(one[40:-1])
        seen = b""
        while seen.count(b"HTTP/1.1 200 OK") < 3 or not seen.endswith(b"}}"):
            seen += peer.recv(65536)
        assert seen.count(b"HTTP/1.1 200 OK") == 3
    assert answered(port) - before == 3


def test_an_unknown_path_is_not_found(port: int) -> None:
    assert ask(port, {}, "/v1/nothing")[0] == 404
