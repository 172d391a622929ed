"""A careful client: before anything is timed, a gateway must answer rightly, and hand a stream on as it comes."""

import http.client
import json
import statistics
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from benchmarks.gateway.load import PACE_MS, Case
from benchmarks.mock_provider import CHUNKS

__all__ = ["StreamTiming", "WrongAnswer", "check", "time_stream"]


class WrongAnswer(RuntimeError):
    """A gateway answered something other than what the provider said."""


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """When the parts of one stream arrived, in milliseconds after the request was sent."""

    first_ms: float
    last_ms: float


@contextmanager
def _ask(case: Case, url: str, headers: Mapping[str, str]) -> Generator[tuple[http.client.HTTPResponse, float]]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=30)) as connection:
        sent = time.perf_counter()
        connection.request("POST", parts.path, case.body(), {"content-type": "application/json", **headers})
        with connection.getresponse() as response:
            if response.status != 200:
                raise WrongAnswer(f"status {response.status}: {response.read(500)!r}")
            yield response, sent


def _read_plain(case: Case, url: str, headers: Mapping[str, str]) -> None:
    with _ask(case, url, headers) as (response, _):
        answer = cast("dict[str, Any]", json.loads(response.read()))
    if not answer["choices"][0]["message"]["content"] or answer["usage"]["completion_tokens"] != CHUNKS:
        raise WrongAnswer(f"the plain answer is not the provider's: {answer}")


def time_stream(case: Case, url: str, headers: Mapping[str, str]) -> StreamTiming:
    """Read one stream to its end and check every event.

    Raises:
        WrongAnswer: content, usage or ``[DONE]`` is missing, doubled or out of order.
    """
    words: list[str] = []
    first = last = 0.0
    usage = 0
    done = False
    with _ask(case, url, headers) as (response, sent):
        while line := response.readline():
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if done:
                raise WrongAnswer("something follows [DONE]")
            if data == b"[DONE]":
                done = True
                continue
            event = cast("dict[str, Any]", json.loads(data))
            if event.get("usage"):
                usage += 1
            for choice in event["choices"]:
                if content := choice["delta"].get("content"):
                    last = time.perf_counter()
                    first = first or last
                    words.append(content)
    if words != [f"word{number:02d} " for number in range(CHUNKS)]:
        raise WrongAnswer(f"{len(words)} content chunks arrived, not the {CHUNKS} that were sent")
    if not done or usage != 1:
        raise WrongAnswer(f"[DONE] {'came' if done else 'is missing'}, the usage chunk came {usage} times")
    return StreamTiming((first - sent) * 1e3, (last - sent) * 1e3)


def check(case: Case, url: str, headers: Mapping[str, str], samples: int = 5) -> float | None:
    """See that ``url`` answers rightly; for streams, the median milliseconds to the first content.

    Raises:
        WrongAnswer: also for a paced stream that is held back and delivered at once.
    """
    try:
        if not case.stream:
            _read_plain(case, url, headers)
            return None
        timings = [time_stream(case, url, headers) for _ in range(samples)]
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError) as broken:
        raise WrongAnswer(f"{type(broken).__name__}: {broken}") from broken
    spread = statistics.median(timing.last_ms - timing.first_ms for timing in timings)
    if case.paced and spread < PACE_MS * (CHUNKS - 1) / 2:
        raise WrongAnswer(f"the stream is held back: first and last chunk arrived within {spread:.1f} ms")
    return statistics.median(timing.first_ms for timing in timings)
