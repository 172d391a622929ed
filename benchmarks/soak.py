"""Hours of ordinary traffic on one worker: whether its memory, its files and its connections stay flat.

``python -m benchmarks.soak --seconds 300`` starts a server in an empty home and an OpenAI twin beside it, and keeps
plain and streamed calls going, from the sandbox and from the twin; a tenth of the clients leave in the middle. It
prints a line every ten seconds and, at the end, the slope after the warm-up. Exit code 1: the slope is too steep.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.crash.node import MODEL, Node, add_twin, nodes, own_twin
from tests.crash.traffic import Kind, Traffic

__all__ = ["Sample", "slope_per_hour"]

_EVERY_S = 10.0
_WARM_UP = 0.3
"""Part of the run in which pools, caches and the allocator come to their size."""
_MOST_MB_PER_HOUR = 60.0
_LEAST_SAMPLES = 12
"""Below two minutes a slope says nothing, and none is judged."""
_KINDS = (
    Kind("sandbox-small", stream=False),
    Kind("sandbox-small", stream=True),
    Kind(MODEL, stream=False),
    Kind(MODEL, stream=True),
)
_FORGET_EVERY = 3
"""The twin remembers every request; it is told to forget after so many lines."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line."""

    at_s: float
    rss_mb: float
    """Of the worker, in 10**6 bytes."""
    files: int
    """Open file descriptors of the worker."""
    upstream: int
    """Connections to the twin, idle ones included."""
    calls: int
    """Answered so far."""


def slope_per_hour(samples: Sequence[Sample]) -> float:
    """Megabytes an hour after the warm-up, by Theil–Sen: the median of the slopes of all pairs (Sen, JASA 63, 1968)."""
    steady = samples[int(len(samples) * _WARM_UP) :]
    slopes = [
        (later.rss_mb - earlier.rss_mb) / (later.at_s - earlier.at_s)
        for number, earlier in enumerate(steady)
        for later in steady[number + 1 :]
    ]
    return statistics.median(slopes) * 3600 if slopes else 0.0


def _sample(node: Node, traffic: Traffic, begun: float) -> Sample:
    (worker,) = node.workers
    with worker.oneshot():
        rss, files = worker.memory_info().rss / 1e6, worker.num_fds()
    upstream = sum(
        value
        for labels, value in node.metrics().samples.get("auterity_provider_connections", ())
        if labels["state"] in ("idle", "in_use")
    )
    return Sample(time.monotonic() - begun, rss, files, round(upstream), traffic.done)


async def _leave(node: Node, stop: asyncio.Event) -> None:
    """Clients that go away in the middle of a stream, again and again."""
    chance = random.Random(0)
    body = Kind(MODEL, stream=True).body()
    host, _, port = node.url.removeprefix("http://").partition(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {node.api_key}\r\n"
        f"content-type: application/json\r\nx-auterity-tags: n=left\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    while not stop.is_set():
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + body)
        await asyncio.sleep(chance.random() * 0.2)
        writer.transport.abort()


async def _soak(seconds: float, callers: int) -> list[Sample]:
    samples: list[Sample] = []
    with nodes() as start, own_twin() as twin:
        node = await asyncio.to_thread(start, workers=1)
        await asyncio.to_thread(add_twin, node, twin)
        twin.faults(drip_s=0.005)
        traffic = Traffic(node.url, node.api_key, _KINDS, label="soak", keep_on=True, remember=False)
        stop = asyncio.Event()
        begun = time.monotonic()
        async with traffic.running(callers):
            leaving = [asyncio.create_task(_leave(node, stop)) for _ in range(max(1, callers // 10))]
            print("seconds  worker RSS MB  open files  upstream connections   calls", flush=True)
            while time.monotonic() - begun < seconds:
                await asyncio.sleep(min(_EVERY_S, max(0.1, seconds - (time.monotonic() - begun))))
                sample = await asyncio.to_thread(_sample, node, traffic, begun)
                samples.append(sample)
                print(
                    f"{sample.at_s:7.0f}  {sample.rss_mb:13.1f}  {sample.files:10}  {sample.upstream:20}  "
                    f"{sample.calls:6}",
                    flush=True,
                )
                if len(samples) % _FORGET_EVERY == 0:
                    await asyncio.to_thread(twin.reset)
                    await asyncio.to_thread(twin.faults, drip_s=0.005)
            stop.set()
            await asyncio.gather(*leaving)
        print(f"calls that failed: {dict(traffic.failed) or 'none'}")
        print(f"exit code {await asyncio.to_thread(node.stop)}")
    return samples


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--callers", type=int, default=40)
    given = parser.parse_args()
    samples = asyncio.run(_soak(given.seconds, given.callers))
    slope = slope_per_hour(samples)
    print(f"after the warm-up: {slope:+.1f} MB an hour; at the end {samples[-1].rss_mb:.1f} MB")
    if len(samples) < _LEAST_SAMPLES:
        print("the run was too short to judge by")
        return 0
    return int(slope > _MOST_MB_PER_HOUR)


if __name__ == "__main__":
    sys.exit(main())
