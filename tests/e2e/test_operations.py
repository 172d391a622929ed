"""Running it: health, metrics, an orderly stop, a second start, and workers that come and go."""

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, StartServer, TwinModels

SECOND_START_S = 60.0
"""For a machine that is busy with other tests; how long it takes on a quiet one is a benchmark."""


def test_health_says_what_is_ready(server: "Server") -> None:
    assert server.http.get("/health/live").json() == {"status": "live"}
    ready = server.http.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "parts": {"usage_spool": "ok", "database": "ok", "counters": "ok"},
    }
    assert ready.headers["cache-control"] == "no-store"


def test_metrics_count_calls(server: "Server", twin_models: "TwinModels", sdk: openai.OpenAI, say: "Say") -> None:
    before = server.metrics()
    for _ in range(3):
        sdk.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="no-such-model", messages=say("Hello"))
    after = server.metrics()

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert grown("auterity_calls_total", model="sandbox-small", outcome="ok", status="200") == 3
    assert grown("auterity_errors_total", code="model_not_found") == 1
    assert grown("auterity_tokens_total", model="sandbox-small", direction="output") > 0
    assert grown("auterity_cost_dollars_total", model="sandbox-small") > 0
    assert grown("auterity_call_seconds_count", endpoint="chat.completions") == 4
    assert after.value("auterity_calls_in_flight") == 0
    # What callers make up is no label.
    assert "no-such-model" not in str(after.samples)


def test_histograms_are_cumulative_and_typed(server: "Server", sdk: openai.OpenAI, say: "Say") -> None:
    sdk.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    metrics = server.metrics()
    names = [name for name, kind in metrics.types.items() if kind == "histogram"]
    assert "auterity_overhead_seconds" in names
    for name in names:
        by_endpoint: dict[str, list[tuple[float, float]]] = {}
        for labels, value in metrics.samples.get(f"{name}_bucket", []):
            by_endpoint.setdefault(labels.get("endpoint", ""), []).append((float(labels["le"]), value))
        for endpoint, buckets in by_endpoint.items():
            counts = [count for _, count in sorted(buckets)]
            assert all(a <= b for a, b in itertools.pairwise(counts))
            assert counts[-1] == metrics.value(f"{name}_count", endpoint=endpoint)


def test_a_stream_finishes_when_the_server_is_told_to_stop_and_the_next_start_keeps_all_data(
    start_server: "StartServer", say: "Say"
) -> None:
    first = start_server()
    client = first.sdk()
    client.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    key = first.management.key(name="kept")
    with client.chat.completions.create(
        model="sandbox-small",
        messages=say("[[sandbox tokens=40 pace=0.05]]"),
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        assert next(stream).choices
        first.terminate()
        chunks = list(stream)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 40
    assert first.stop() == 0

    begun = time.monotonic()
    second = start_server(prior=first)
    assert time.monotonic() - begun < SECOND_START_S
    assert "Password" not in second.said
    assert second.api_key not in second.said
    assert second.sdk(key["secret"]).chat.completions.create(model="sandbox-small", messages=say("Hello")).choices
    # The calls of the first life, the last stream too, and the one of the second.
    assert len(second.events(3)) == 3
    assert {event["outcome"] for event in second.events(3)} == {"ok"}
    report = second.usage()
    assert report["totals"]["calls"] == 3
    assert report["totals"]["cost_nano"] == sum(event["cost_nano"] for event in second.events(3))
    assert "kept" in {each["name"] for each in second.management.get("/keys")["items"]}


def test_the_command_line_answers_beside_the_running_server(server: "Server") -> None:
    version = server.cli("version")
    assert version.returncode in (0, 2)  # it takes no --home
    listed = server.cli("models", "list")
    assert listed.returncode == 0, listed.stderr
    assert "sandbox-small" in listed.stdout
    doctor = server.cli("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def test_a_second_server_on_the_same_home_is_refused(server: "Server") -> None:
    refused = server.cli("serve", "--port", "0")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert server.url in refused.stderr


async def test_both_workers_serve_and_see_a_revoked_key_at_once(two_workers: "Server", say: "Say") -> None:
    server = two_workers
    assert len(server.workers) == 2
    key = server.management.key()

    async def outcomes(calls: int) -> list[bool]:
        """Each call on a connection of its own, so that both workers take some."""

        async def call() -> bool:
            async with server.async_sdk(key["secret"]) as client:
                try:
                    await client.chat.completions.create(model="sandbox-small", messages=say("Hello"), max_tokens=5)
                except openai.AuthenticationError:
                    return False
                return True

        return await asyncio.gather(*(call() for _ in range(calls)))

    assert all(await outcomes(60))
    busy = [sum(worker.cpu_times()[:2]) for worker in server.workers]
    assert all(busy)
    server.management.post(f"/keys/{key['id']}/revoke")
    assert not any(await outcomes(60))


async def test_a_killed_worker_is_replaced_and_the_other_serves_meanwhile(two_workers: "Server", say: "Say") -> None:
    server = two_workers
    server.expected_errors.append("worker-")
    before = {worker.pid for worker in server.workers}
    victim = server.workers[0]
    victim.kill()
    failed = 0
    deadline = time.monotonic() + 60
    while len({worker.pid for worker in server.workers} - {victim.pid}) < 2 or failed > 0:
        assert time.monotonic() < deadline, "the killed worker was not replaced"
        failed = 0
        async with server.async_sdk() as client:
            try:
                await client.chat.completions.create(model="sandbox-small", messages=say("Hello"), max_tokens=5)
            except openai.APIConnectionError:
                # A connection that the victim had accepted from the queue of the shared socket.
                failed = 1
        await asyncio.sleep(0.1)
    assert len({worker.pid for worker in server.workers} & before) == 1
    # The successor takes calls once it is ready; until then the other does.
    deadline = time.monotonic() + 60
    while server.http.get("/health/ready").json()["status"] != "ready":
        assert time.monotonic() < deadline
    total = server.usage()["totals"]["calls"]
    for _ in range(10):
        async with server.async_sdk() as client:
            await client.chat.completions.create(model="sandbox-small", messages=say("Hello"), max_tokens=5)
    deadline = time.monotonic() + 45
    while server.usage()["totals"]["calls"] < total + 10:
        assert time.monotonic() < deadline, "calls after the replacement were not counted"
        await asyncio.sleep(0.2)
