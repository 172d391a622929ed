"""Headers say in OpenAI's forms how much is left and when to come again."""

import pytest

from auterity.engines.counters.port import Rate, RateDecision
from auterity.gateway.wire.headers import cost_header, rate_headers, reset_text, retry_header


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.02, "20ms"), (1.0, "1s"), (1.5, "1.5s"), (59.25, "59.25s"), (60, "1m0s"), (361.2, "6m1s")],
)
def test_durations_read_as_openai_writes_them(seconds: float, text: str) -> None:
    assert reset_text(seconds) == text


@pytest.mark.parametrize(("seconds", "value"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (30, b"30")])
def test_retry_after_is_never_too_early(seconds: float, value: bytes) -> None:
    assert retry_header(seconds) == (b"retry-after", value)


def test_the_rate_is_shown() -> None:
    decision = RateDecision(allowed=True, remaining=9, reset_s=6.0, retry_after_s=0)
    assert dict(rate_headers(Rate(10), decision)) == {
        b"x-ratelimit-limit-requests": b"10",
        b"x-ratelimit-remaining-requests": b"9",
        b"x-ratelimit-reset-requests": b"6s",
    }


def test_the_cost_is_in_dollars() -> None:
    assert cost_header(1_230_000) == (b"x-auterity-cost", b"0.00123")
