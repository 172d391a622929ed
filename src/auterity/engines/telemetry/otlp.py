"""Traces sent to an OpenTelemetry collector over OTLP/HTTP, in batches and from a thread of their own.

Spans follow OpenTelemetry's semantic conventions for generative AI: the call is a server span named
``<operation> <model>``, each attempt a client span beneath it.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from auterity.engines.telemetry.traces import AttemptFacts, CallFacts, Trace, begin_trace

__all__ = ["OtlpTracer"]

_log = logging.getLogger(__name__)

_BATCH = 256
_KEPT = 8192
_EVERY_S = 1.0
_SEND_S = 3.0
_CLOSE_S = 5.0
_TRACES_PATH = "/v1/traces"

_IDS = RandomIdGenerator()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

_Value = str | int | float | bool


class OtlpTracer:
    """An adapter of :class:`~auterity.engines.telemetry.traces.Tracer`.

    On the hot path a call costs one append. What the collector does not take in time is dropped, and the log says how
    much: traces must not use up memory nor hold up calls.
    """

    def __init__(self, endpoint: str, *, service: str = "auterity", version: str = "", ratio: float = 1.0) -> None:
        path = urlsplit(endpoint).path.rstrip("/")
        url = endpoint if path.endswith(_TRACES_PATH) else endpoint.rstrip("/") + _TRACES_PATH
        self._exporter = OTLPSpanExporter(url, timeout=_SEND_S)
        self._resource = Resource.create({"service.name": service, "service.version": version})
        self._scope = InstrumentationScope("auterity.gateway", version)
        self._ratio = ratio
        self._facts: deque[CallFacts] = deque()
        self._dropped = 0
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="trace-export", daemon=True)
        self._thread.start()

    def begin(self, traceparent: str | None) -> Trace | None:
        return begin_trace(traceparent, self._ratio)

    def call_finished(self, facts: CallFacts) -> None:
        if not facts.trace.sampled:
            return
        if len(self._facts) >= _KEPT:
            self._dropped += 1
            return
        self._facts.append(facts)
        if len(self._facts) == _BATCH:
            self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE_S)
        self._exporter.shutdown()

    def _send_all(self) -> None:
        while not self._closing or self._facts:
            if not self._closing:
                self._wake.wait(_EVERY_S)
                self._wake.clear()
            while self._facts:
                batch = [self._facts.popleft() for _ in range(min(_BATCH, len(self._facts)))]
                # A failure is the exporter's to log; it has tried again until its time was over.
                self._exporter.export([span for facts in batch for span in self._spans(facts)])
            dropped, self._dropped = self._dropped, 0
            if dropped:
                _log.warning("traces of calls were dropped: the collector is too slow", extra={"dropped": dropped})

    def _spans(self, facts: CallFacts) -> list[ReadableSpan]:
        trace_id = int(facts.trace.trace_id, 16)
        own = SpanContext(trace_id, int(facts.trace.span_id, 16), is_remote=False, trace_flags=_SAMPLED)
        caller = None
        if facts.trace.parent_id:
            caller = SpanContext(trace_id, int(facts.trace.parent_id, 16), is_remote=True, trace_flags=_SAMPLED)
        spans = [
            self._span(
                f"{facts.operation} {facts.requested_model}".rstrip(),
                own,
                caller,
                kind=SpanKind.SERVER,
                attributes=_call_attributes(facts),
                interval_us=(facts.started_us, facts.ended_us),
                error=facts.error,
            )
        ]
        for attempt in facts.attempts:
            context = SpanContext(trace_id, _IDS.generate_span_id(), is_remote=False, trace_flags=_SAMPLED)
            spans.append(
                self._span(
                    f"{facts.operation} {attempt.model}",
                    context,
                    own,
                    kind=SpanKind.CLIENT,
                    attributes=_attempt_attributes(facts, attempt),
                    interval_us=(attempt.started_us, attempt.ended_us),
                    error=attempt.error,
                )
            )
        return spans

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        *,
        kind: SpanKind,
        attributes: Mapping[str, _Value],
        interval_us: tuple[int, int],
        error: str,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
            start_time=interval_us[0] * 1000,
            end_time=interval_us[1] * 1000,
            instrumentation_scope=self._scope,
        )


def _call_attributes(facts: CallFacts) -> dict[str, _Value]:
    return _said(
        {
            "gen_ai.operation.name": facts.operation,
            "gen_ai.provider.name": facts.provider,
            "gen_ai.request.model": facts.requested_model,
            "gen_ai.response.model": facts.served_model,
            "gen_ai.request.stream": facts.stream,
            "gen_ai.response.time_to_first_chunk": facts.first_byte_us / 1e6 if facts.stream else 0,
            "gen_ai.usage.input_tokens": facts.input_tokens,
            "gen_ai.usage.output_tokens": facts.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": facts.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": facts.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": facts.reasoning_tokens,
            "http.response.status_code": facts.status,
            "error.type": facts.error,
            "auterity.request.id": facts.request_id,
            "auterity.tenant.id": facts.tenant_id,
            "auterity.key.id": facts.key_id,
            "auterity.cost.nano_usd": facts.cost_nano,
        }
    )


def _attempt_attributes(facts: CallFacts, attempt: AttemptFacts) -> dict[str, _Value]:
    return _said(
        {
            "gen_ai.operation.name": facts.operation,
            "gen_ai.provider.name": attempt.provider,
            "gen_ai.request.model": attempt.model,
            "http.response.status_code": attempt.status,
            "error.type": attempt.error,
            "auterity.deployment.id": attempt.deployment_id,
        }
    )


def _said(attributes: dict[str, _Value]) -> dict[str, _Value]:
    """Leave out what is not known."""
    return {name: value for name, value in attributes.items() if value not in ("", 0) or value is False}
