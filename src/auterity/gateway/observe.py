"""What operators see of calls: Prometheus metrics and traces, told once the answer is out."""

from collections.abc import Mapping
from dataclasses import dataclass

from auterity.engines.telemetry.metrics import Counter, Gauge, Histogram, Metrics
from auterity.engines.telemetry.traces import AttemptFacts, CallFacts, Trace, Tracer
from auterity.gateway.exchange import Exchange
from auterity.gateway.respond import overhead_us
from auterity.kit.clock import Clock
from auterity.kit.money import NANO_PER_DOLLAR
from auterity.kit.tokens import TokenUsage
from auterity.providers.contract import Endpoint

__all__ = ["Observe"]

_OPERATIONS: Mapping[Endpoint, str] = {"chat.completions": "chat", "embeddings": "embeddings"}
"""OpenTelemetry's names (semantic conventions for generative AI, ``gen_ai.operation.name``)."""


@dataclass(frozen=True, slots=True)
class _Series:
    """The children for calls that are alike; resolved once."""

    calls: Counter
    seconds: Histogram
    overhead: Histogram
    first_byte: Histogram
    tokens_in: Counter
    tokens_out: Counter
    dollars: Counter


class Observe:
    """Counts and traces calls. Labels are the public model, never what a caller made up."""

    def __init__(self, metrics: Metrics, tracer: Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock
        self._series: dict[tuple[str, str, str, str, int], _Series] = {}
        self._calls = metrics.counter(
            "auterity_calls_total",
            "Gateway calls by how they ended.",
            ("endpoint", "model", "provider", "outcome", "status"),
        )
        self._seconds = metrics.histogram(
            "auterity_call_seconds", "Whole calls, from the request to the last byte.", ("endpoint",)
        )
        self._overhead = metrics.histogram(
            "auterity_overhead_seconds", "Auterity's own part of a call: all but the wait for providers.", ("endpoint",)
        )
        self._first_byte = metrics.histogram(
            "auterity_first_byte_seconds", "From the request to the first byte of the answer.", ("endpoint",)
        )
        self._tokens = metrics.counter("auterity_tokens_total", "Tokens metered.", ("model", "direction"))
        self._dollars = metrics.counter("auterity_cost_dollars_total", "Cost metered, in US dollars.", ("model",))
        self._errors = metrics.counter("auterity_errors_total", "Calls that ended with an error, by code.", ("code",))
        self._attempts = metrics.counter(
            "auterity_provider_attempts_total", "Tries at providers' deployments.", ("provider", "error")
        )
        self._in_flight: Gauge = metrics.gauge("auterity_calls_in_flight", "Calls being served now.").labels()

    def begin(self, exchange: Exchange) -> None:
        """A call came in."""
        self._in_flight.inc()
        traceparent = exchange.request.headers.get(b"traceparent")
        exchange.trace = self._tracer.begin(traceparent.decode("latin-1") if traceparent else None)

    def end(self, exchange: Exchange) -> None:
        """A call is over; every ``begin`` has its ``end``."""
        self._in_flight.dec()
        now = self._clock.monotonic_ns()
        served, error = exchange.served, exchange.error
        model, provider = (served.target.public_model, served.provider) if served is not None else ("", "")
        status = error.status if error is not None else 200
        name = (exchange.endpoint, model, provider, exchange.outcome.value, status)
        series = self._series.get(name) or self._resolve(name)
        series.calls.inc()
        series.seconds.observe((now - exchange.started_ns) / 1e9)
        series.overhead.observe(overhead_us(exchange, now) / 1e6)
        if exchange.first_byte_ns:
            series.first_byte.observe((exchange.first_byte_ns - exchange.started_ns) / 1e9)
        if exchange.usage is not None:
            series.tokens_in.inc(exchange.usage.input)
            series.tokens_out.inc(exchange.usage.output)
            series.dollars.inc(exchange.cost_nano / NANO_PER_DOLLAR)
        if error is not None:
            self._errors.labels(error.code).inc()
        for attempt in exchange.attempts:
            self._attempts.labels(attempt.provider, attempt.error_code).inc()
        if exchange.trace is not None:
            self._tracer.call_finished(_facts(exchange, exchange.trace, status, self._clock.epoch_us()))

    def _resolve(self, name: tuple[str, str, str, str, int]) -> _Series:
        endpoint, model, provider, outcome, status = name
        series = _Series(
            calls=self._calls.labels(endpoint, model, provider, outcome, str(status)),
            seconds=self._seconds.labels(endpoint),
            overhead=self._overhead.labels(endpoint),
            first_byte=self._first_byte.labels(endpoint),
            tokens_in=self._tokens.labels(model, "input"),
            tokens_out=self._tokens.labels(model, "output"),
            dollars=self._dollars.labels(model),
        )
        self._series[name] = series
        return series


def _facts(exchange: Exchange, trace: Trace, status: int, ended_us: int) -> CallFacts:
    key, inbound, served, error = exchange.key, exchange.inbound, exchange.served, exchange.error
    usage = exchange.usage or TokenUsage()
    first = exchange.first_byte_ns
    kinds = {candidate.id: candidate for candidate in exchange.candidates}
    attempts: list[AttemptFacts] = []
    for attempt in exchange.attempts:
        deployment = kinds[attempt.deployment_id]
        begun_us = exchange.started_us + attempt.after_us
        attempts.append(
            AttemptFacts(
                started_us=begun_us,
                ended_us=begun_us + attempt.latency_us,
                provider=deployment.kind,
                model=deployment.target.upstream_model,
                deployment_id=attempt.deployment_id,
                status=attempt.status,
                error=attempt.error_code,
            )
        )
    return CallFacts(
        trace=trace,
        request_id=exchange.id,
        operation=_OPERATIONS[exchange.endpoint],
        started_us=exchange.started_us,
        ended_us=ended_us,
        requested_model=inbound.call.model if inbound is not None else "",
        served_model=served.target.upstream_model if served is not None else "",
        provider=served.kind if served is not None else "",
        stream=inbound is not None and inbound.call.stream,
        status=status,
        error=error.code if error is not None else "",
        tenant_id=key.tenant_id if key is not None else "",
        key_id=key.id if key is not None else "",
        first_byte_us=(first - exchange.started_ns) // 1000 if first else 0,
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        reasoning_tokens=usage.reasoning,
        cost_nano=exchange.cost_nano,
        attempts=tuple(attempts),
    )
