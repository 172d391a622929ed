"""Traces: what is told of a call once it is over, and how its trace goes on at the provider.

One span per call and a child per attempt, built after the fact and off the hot path from a plain account of the call:
names, times and numbers, never content. The trace's identity (W3C Trace Context, level 1) is settled at the start,
because the provider is told of it.
"""

import os
import re
from typing import Protocol

import msgspec

__all__ = ["AttemptFacts", "CallFacts", "NullTracer", "Trace", "Tracer", "begin_trace"]

# Versions above 00 may carry more fields, which are ignored; version ff is forbidden.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace(msgspec.Struct, frozen=True):
    """The identity of one call's span."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits; our own span's."""
    parent_id: str
    """The caller's span; ``""`` where it named none."""
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The header to send to the provider."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class AttemptFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one deployment."""

    started_us: int
    """Microseconds since the Unix epoch."""
    ended_us: int
    provider: str
    """The kind of provider as the conventions name it, e.g. ``openai``, ``anthropic``."""
    model: str
    """The provider's own name of the model."""
    deployment_id: str = ""
    status: int = 0
    """The provider's HTTP status; 0 where none came."""
    error: str = ""
    """A stable code; ``""`` where it went well."""


class CallFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One call that is over."""

    trace: Trace
    request_id: str
    operation: str
    """As the conventions name it: ``chat``, ``embeddings``, ``text_completion``."""
    started_us: int
    ended_us: int
    requested_model: str = ""
    served_model: str = ""
    provider: str = ""
    stream: bool = False
    status: int = 200
    """The HTTP status the client saw."""
    error: str = ""
    """A stable code; ``""`` where it went well."""
    tenant_id: str = ""
    key_id: str = ""
    first_byte_us: int = 0
    """From the start to the answer's first byte; 0 where there was none."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    attempts: tuple[AttemptFacts, ...] = ()


class Tracer(Protocol):
    """Tells of calls to whoever collects traces."""

    def begin(self, traceparent: str | None) -> Trace | None:
        """Settle the identity of a call that starts; ``traceparent`` is the caller's header.

        Returns:
            What the call's facts and the header to the provider need, or None where nothing is traced.
        """
        ...

    def call_finished(self, facts: CallFacts) -> None:
        """Tell of a call that is over; returns at once and never fails."""
        ...

    def close(self) -> None:
        """Send what was told and not yet sent; waits a few seconds at most."""
        ...


class NullTracer:
    """Tells nobody."""

    def begin(self, traceparent: str | None) -> Trace | None:
        del traceparent

    def call_finished(self, facts: CallFacts) -> None:
        del facts

    def close(self) -> None:
        return None


def begin_trace(traceparent: str | None, ratio: float) -> Trace:
    """Go on with the caller's trace, its sampling included, or begin one; ``ratio`` of those begun here are sampled."""
    span_id = _random_hex(8)
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if match is not None:
        version, trace_id, parent_id, flags, more = match.groups()
        well_formed = int(trace_id, 16) and int(parent_id, 16) and not (version == "00" and more)
        if well_formed:
            return Trace(trace_id, span_id, parent_id, sampled=bool(int(flags, 16) & 1))
    trace_id = _random_hex(16)
    # By the id, as OpenTelemetry's ratio sampler does, so that every member of a trace would decide alike.
    sampled = int(trace_id[16:], 16) < ratio * 2**64
    return Trace(trace_id, span_id, "", sampled=sampled)


def _random_hex(size: int) -> str:
    """Random bytes in hexadecimal, not all zero, which would be no identity."""
    while True:
        value = os.urandom(size).hex()
        if value.strip("0"):
            return value
