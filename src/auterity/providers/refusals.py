"""Error answers of providers, whatever they look like, told as a :class:`ProviderRefusal` that is safe to show."""

import math
import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import msgspec

from auterity.engines.http.port import Header
from auterity.kit.clock import Clock
from auterity.providers.contract import ProviderRefusal
from auterity.providers.untyped import UNREADABLE, as_list, as_object

__all__ = ["MAX_MESSAGE", "invalid_answer", "read_refusal", "refusal_of", "retry_after"]

MAX_MESSAGE = 500
"""Characters of a provider's own words that are shown."""
_MAX_READ = 64 * 1024
_MAX_RETRY_AFTER = 86_400.0
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Providers quote the key they refuse. What looks like one is not shown.
_SECRET = re.compile(r"(?i)\b(?:bearer\s+\S{8,}|(?:sk|gsk|xai|pk|rk|ak|api|key)[-_][\w*.\-]{8,})")


def invalid_answer(status: int, what: str) -> ProviderRefusal:
    """The provider said ``status`` and then did not keep to its contract."""
    return ProviderRefusal(
        f"The provider's answer could not be read: {what}.",
        provider_status=status,
        provider_code="invalid_provider_answer",
    )


def read_refusal(status: int, headers: Sequence[Header], body: bytes, clock: Clock) -> ProviderRefusal:
    """Read an error answer: a JSON error of any of the usual shapes, HTML, plain text or nothing."""
    error: object = None
    text = body[:_MAX_READ].decode("utf-8", "replace").strip()
    # A body that is nested very deep is text like any other.
    try:
        error = msgspec.json.decode(body)
    except UNREADABLE:
        error = "" if text.startswith("<") else text
    return refusal_of(error, status, retry_after(headers, clock))


def refusal_of(body: object, status: int, retry: float | None = None) -> ProviderRefusal:
    """Find message, type, code and parameter in a decoded error, or say only what the status says.

    Known shapes: ``{"error": {…}}`` (OpenAI, Anthropic), ``{"error": "text"}`` (Ollama), the error's members at the top
    (Mistral, vLLM), ``{"detail": …}`` (servers made with FastAPI) and a list that holds one of these (Google).
    """
    several = as_list(body)
    whole = several[0] if several else body
    inner = (as_object(whole) or {}).get("error", whole)
    error = as_object(inner) or {}
    message = error.get("message") or error.get("detail") or (inner if isinstance(inner, str) else None)
    if message is not None and not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    shown = _presentable(message or "")
    summary = f"The provider answered with status {status}"
    return ProviderRefusal(
        f"{summary}: {shown}" if shown else f"{summary}.",
        provider_status=status,
        provider_code=_short(error.get("code")),
        provider_type=_short(error.get("type")) or _short(error.get("status")),
        param=_short(error.get("param")),
        retry_after=retry,
    )


def retry_after(headers: Sequence[Header], clock: Clock) -> float | None:
    """Seconds to wait, 0 to a day, by ``retry-after-ms`` or ``retry-after`` (RFC 9110 §10.2.3: seconds or a date)."""
    found: float | None = None
    for name, value in headers:
        text = value.decode("latin-1").strip()
        if name == b"retry-after-ms" and (milliseconds := _number(text)) is not None:
            return _within_a_day(milliseconds / 1000)
        if name == b"retry-after" and found is None:
            found = _number(text)
            if found is None:
                found = _seconds_until(text, clock)
    return None if found is None else _within_a_day(found)


def _presentable(text: str) -> str:
    cleaned = _SECRET.sub("[redacted]", _UNPRINTABLE.sub(" ", text[: MAX_MESSAGE * 4])).strip()
    return cleaned if len(cleaned) <= MAX_MESSAGE else cleaned[: MAX_MESSAGE - 1] + "…"


def _short(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        return None
    return _presentable(value)[:100] or None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_until(text: str, clock: Clock) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # A date in "-0000" comes without a zone; HTTP dates are always GMT.
    return moment.timestamp() - clock.now().timestamp() if moment.tzinfo else None


def _within_a_day(seconds: float) -> float:
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)
