"""Traces as a collector receives them, decoded from the wire."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from auterity.engines.telemetry.otlp import OtlpTracer
from auterity.engines.telemetry.selection import tracer_for
from auterity.engines.telemetry.traces import AttemptFacts, CallFacts, NullTracer, Trace, begin_trace

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """An OTLP/HTTP receiver on the loopback."""

    def __init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.answers.wait(10)
                collector.paths.append(self.path)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.paths: list[str] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.answers = threading.Event()
        self.answers.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def stop(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


def attributes(pairs: "list[KeyValue]") -> dict[str, object]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)


def facts(trace: Trace | None, error: str = "") -> CallFacts:
    assert trace is not None
    return CallFacts(
        trace=trace,
        request_id="req_1",
        operation="chat",
        started_us=1_000_000,
        ended_us=3_000_000,
        requested_model="smart",
        served_model="gpt-4o-2024-08-06",
        provider="openai",
        stream=True,
        status=200,
        error=error,
        tenant_id="ten_1",
        key_id="key_1",
        first_byte_us=250_000,
        input_tokens=12,
        output_tokens=34,
        cost_nano=5600,
        attempts=(
            AttemptFacts(
                started_us=1_100_000, ended_us=1_200_000, provider="anthropic", model="claude", status=529,
                error="overloaded", deployment_id="dep_1",
            ),
            AttemptFacts(started_us=1_300_000, ended_us=2_900_000, provider="openai", model="gpt-4o", status=200),
        ),
    )  # fmt: skip


def test_a_call_is_one_span_with_a_child_for_each_attempt(collector: Collector) -> None:
    tracer = tracer_for(collector.url, version="1.2")
    tracer.call_finished(facts(tracer.begin(PARENT)))
    tracer.close()
    call, first, second = collector.spans
    assert collector.paths == ["/v1/traces"]
    assert (call.name, call.kind) == ("chat smart", Span.SPAN_KIND_SERVER)
    assert (call.start_time_unix_nano, call.end_time_unix_nano) == (10**9, 3 * 10**9)
    assert attributes(list(call.attributes)) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "smart",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 34,
        "http.response.status_code": 200,
        "auterity.request.id": "req_1",
        "auterity.tenant.id": "ten_1",
        "auterity.key.id": "key_1",
        "auterity.cost.nano_usd": 5600,
    }
    assert [child.parent_span_id for child in (first, second)] == [call.span_id] * 2
    assert (first.name, first.kind, first.status.code) == (
        "chat claude",
        Span.SPAN_KIND_CLIENT,
        Status.STATUS_CODE_ERROR,
    )
    assert attributes(list(first.attributes))["error.type"] == "overloaded"
    assert (second.name, second.status.code) == ("chat gpt-4o", Status.STATUS_CODE_UNSET)
    resource = attributes(list(collector.requests[0].resource_spans[0].resource.attributes))
    assert (resource["service.name"], resource["service.version"]) == ("auterity", "1.2")


def test_the_callers_trace_is_gone_on_with(collector: Collector) -> None:
    tracer = tracer_for(collector.url + "/v1/traces")
    trace = tracer.begin(PARENT)
    tracer.call_finished(facts(trace))
    tracer.close()
    [call, *_] = collector.spans
    assert trace is not None
    assert call.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert call.parent_span_id.hex() == "b7ad6b7169203331"
    assert trace.traceparent == f"00-0af7651916cd43dd8448eb211c80319c-{call.span_id.hex()}-01"


def test_what_the_caller_did_not_sample_is_passed_on_and_not_told(collector: Collector) -> None:
    tracer = tracer_for(collector.url)
    trace = tracer.begin(PARENT[:-2] + "00")
    assert trace is not None
    assert trace.traceparent.startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert trace.traceparent.endswith("-00")
    tracer.call_finished(facts(trace))
    tracer.close()
    assert collector.spans == []


def test_a_failed_call_says_with_what(collector: Collector) -> None:
    tracer = tracer_for(collector.url)
    tracer.call_finished(facts(tracer.begin(None), error="budget_exceeded"))
    tracer.close()
    assert collector.spans[0].status.code == Status.STATUS_CODE_ERROR
    assert attributes(list(collector.spans[0].attributes))["error.type"] == "budget_exceeded"
    assert collector.spans[0].parent_span_id == b""


def test_calls_are_sent_in_batches_without_being_asked_to(collector: Collector) -> None:
    tracer = tracer_for(collector.url)
    for _ in range(600):
        tracer.call_finished(facts(tracer.begin(None)))
    until(lambda: len(collector.spans) == 1800)
    assert len(collector.requests) <= 10
    tracer.close()


def test_a_collector_that_does_not_answer_costs_traces_and_no_time(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answers.clear()
    tracer = tracer_for(collector.url)
    trace = tracer.begin(None)
    told = facts(trace)
    started = time.perf_counter()
    for _ in range(12_000):
        tracer.call_finished(told)
    assert time.perf_counter() - started < 2
    with caplog.at_level(logging.WARNING):
        collector.answers.set()
        until(lambda: "were dropped" in caplog.text)
    tracer.close()


def test_no_collector_at_all_is_no_trouble() -> None:
    tracer = OtlpTracer("http://127.0.0.1:1")
    tracer.call_finished(facts(tracer.begin(None)))
    started = time.perf_counter()
    tracer.close()
    assert time.perf_counter() - started < 8


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        PARENT.replace("00-", "ff-", 1),
        PARENT.upper(),
        PARENT + "-more",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
    ],
)
def test_a_header_that_is_none_begins_a_new_trace(header: str | None) -> None:
    trace = begin_trace(header, 1.0)
    assert trace.parent_id == ""
    assert trace.sampled
    assert trace.trace_id != "0af7651916cd43dd8448eb211c80319c"


def test_later_versions_of_the_header_are_read_as_far_as_known() -> None:
    assert begin_trace("01" + PARENT[2:] + "-more", 1.0).parent_id == "b7ad6b7169203331"


@given(st.text(max_size=80))
def test_any_header_gives_an_identity(header: str) -> None:
    trace = begin_trace(header, 0.5)
    again = begin_trace(trace.traceparent, 0.5)
    assert (again.trace_id, again.parent_id, again.sampled) == (trace.trace_id, trace.span_id, trace.sampled)


def test_the_ratio_is_that_of_the_traces_begun_here() -> None:
    sampled = sum(begin_trace(None, 0.25).sampled for _ in range(4000))
    assert 800 < sampled < 1200
    assert not begin_trace(None, 0.0).sampled


def test_without_an_endpoint_nothing_is_traced_and_nothing_loaded() -> None:
    tracer = tracer_for(None)
    assert isinstance(tracer, NullTracer)
    assert tracer.begin(PARENT) is None
    tracer.close()
    script = """
import sys
from auterity.engines.telemetry.selection import tracer_for
tracer_for("")
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
