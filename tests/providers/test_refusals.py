"""A provider's error is told briefly and safely, whatever it looks like."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.kit.clock import ManualClock
from auterity.providers.openai import OpenAIWire
from auterity.providers.refusals import MAX_MESSAGE

WIRE = OpenAIWire(clock=ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))


def test_openais_error_is_read_in_full() -> None:
    refusal = WIRE.refusal(
        400, [], b'{"error":{"message":"Too long","type":"invalid_request_error","param":"messages","code":"too_long"}}'
    )
    assert refusal.message == "The provider answered with status 400: Too long"
    assert refusal.provider_status == 400
    assert refusal.provider_type == "invalid_request_error"
    assert refusal.provider_code == "too_long"
    assert refusal.param == "messages"
    assert refusal.retry_after is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The provider answered with status 500."),
        (b"<html><h1>Bad gateway</h1></html>", "The provider answered with status 500."),
        (b"upstream is away", "The provider answered with status 500: upstream is away"),
        (b"\xff\xfe\x00", "The provider answered with status 500: �� "),
        (b"null", "The provider answered with status 500."),
        (b"{}", "The provider answered with status 500."),
        (b"[]", "The provider answered with status 500."),
        (b'{"error":null}', "The provider answered with status 500."),
        (b'{"error":"no such model"}', "The provider answered with status 500: no such model"),
        (b'{"object":"error","message":"vLLM says","code":40001}', "The provider answered with status 500: vLLM says"),
        (b'{"detail":[{"msg":"bad"}]}', 'The provider answered with status 500: [{"msg":"bad"}]'),
        (b'[{"error":{"code":400,"message":"Google","status":"X"}}]', "The provider answered with status 500: Google"),
        (b'{"error":{"message":"a\\r\\nset-cookie: b"}}', "The provider answered with status 500: a set-cookie: b"),
    ],
)
def test_every_shape_of_error_gets_a_message(body: bytes, message: str) -> None:
    assert WIRE.refusal(500, [], body).message.rstrip() == message.rstrip()


@given(st.binary(max_size=300))
def test_no_body_makes_reading_fail(body: bytes) -> None:
    assert WIRE.refusal(502, [], body).provider_status == 502


def test_a_deeply_nested_body_does_no_harm() -> None:
    assert len(WIRE.refusal(500, [], b"[" * 200_000).message) < MAX_MESSAGE + 100


def test_a_long_message_is_cut() -> None:
    refusal = WIRE.refusal(500, [], b'{"error":{"message":"' + b"x" * 9000 + b'","code":"' + b"y" * 9000 + b'"}}')
    assert len(refusal.message) <= MAX_MESSAGE + len("The provider answered with status 500: ")
    assert refusal.provider_code == "y" * 100


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcdefgh12345678", "sk-abcd****************1234", "gsk_abcdefgh12345678", "Bearer abcdefgh12345"],
)
def test_what_looks_like_a_key_is_not_shown(secret: str) -> None:
    refusal = WIRE.refusal(401, [], b'{"error":{"message":"Incorrect key ' + secret.encode() + b' given"}}')
    assert secret not in refusal.message
    assert "[redacted] given" in refusal.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b" 1.5 ")], 1.5),
        ([(b"retry-after", b"Thu, 01 Jan 2026 00:00:30 GMT")], 30.0),
        ([(b"retry-after", b"Wed, 31 Dec 2025 00:00:00 GMT")], 0.0),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after", b"-3")], 0.0),
        ([(b"retry-after", b"1e300")], 86400.0),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after-ms", b"x"), (b"retry-after", b"2")], 2.0),
        ([(b"x-secret", b"value")], None),
    ],
)
def test_the_time_to_wait_is_read(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    refusal = WIRE.refusal(429, headers, b"")
    assert refusal.retry_after == seconds
    assert "value" not in refusal.message
