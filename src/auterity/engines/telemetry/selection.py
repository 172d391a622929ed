"""Which tracer a process uses."""

import importlib
from typing import TYPE_CHECKING, cast

from auterity.engines.telemetry.traces import NullTracer, Tracer

if TYPE_CHECKING:
    from auterity.engines.telemetry import otlp

__all__ = ["tracer_for"]


def tracer_for(endpoint: str | None, *, service: str = "auterity", version: str = "", ratio: float = 1.0) -> Tracer:
    """The tracer for an OTLP/HTTP endpoint such as ``http://collector:4318``, or none where there is no endpoint."""
    if not endpoint:
        return NullTracer()
    # OpenTelemetry takes a third of a second and 12 MB to load: only those pay for it that trace.
    module = importlib.import_module("auterity.engines.telemetry.otlp")
    return cast("type[otlp.OtlpTracer]", module.OtlpTracer)(endpoint, service=service, version=version, ratio=ratio)
