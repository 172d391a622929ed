"""How the values of settings are written down: sizes, durations, switches, paths, URLs, addresses."""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from auterity.app.settings import Kind, Setting

__all__ = ["Value", "parse", "seconds"]

Value = str | int | float | bool | Path

_DECIMAL_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES = _DECIMAL_SIZES | {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_DURATIONS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([a-zA-Z]*)")
_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parse(setting: Setting, text: str, folder: Path) -> Value:
    """Make the value from its text; relative paths start from ``folder``.

    Raises:
        ValueError: it cannot be; the message completes "<setting> …" and never repeats a URL.
    """
    if setting.spec.kind is Kind.FILE:
        path = Path(text).expanduser()
        return path if path.is_absolute() else (folder / path).resolve()
    return _READERS[setting.spec.kind](setting, text)


def seconds(text: str) -> float:
    """Read a duration such as ``30s`` or ``7d``.

    Raises:
        ValueError: it is none; the message completes "<option> …".
    """
    return _quantity(text, _DURATIONS, Kind.DURATION)


def _switch(_setting: Setting, text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ValueError(f'must be true or false, not "{text[:60]}"')
    return _SWITCH[text.lower()]


def _choice(setting: Setting, text: str) -> str:
    if text not in setting.choices:
        raise ValueError(f'must be {" or ".join(setting.choices)}, not "{text[:60]}"')
    return text


def _count(setting: Setting, text: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError(f'must be a whole number, not "{text[:60]}"')
    return _within(setting, int(text))


def _number(setting: Setting, text: str) -> float:
    return _within(setting, _quantity(text, {"": 1}, setting.spec.kind))


def _size(setting: Setting, text: str) -> float:
    return _within(setting, int(_quantity(text, _SIZES, setting.spec.kind)))


def _duration(setting: Setting, text: str) -> float:
    return _within(setting, _quantity(text, _DURATIONS, setting.spec.kind))


def _quantity(text: str, units: Mapping[str, float], kind: Kind) -> float:
    found = _QUANTITY.fullmatch(text)
    unit = units.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise ValueError(f'must be a {kind.value}, not "{text[:60]}"')
    return float(found[1]) * unit


def _within(setting: Setting, value: float) -> float:
    low, high = setting.spec.minimum, setting.spec.maximum
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low:.15g}" if high is None else f"from {low:.15g} to {high:.15g}"
        raise ValueError(f"must be {bounds}, not {value:.15g}")
    return value


def _url(setting: Setting, text: str) -> str:
    """Check a URL without repeating it: it may hold a password."""
    schemes = setting.spec.schemes
    if not schemes:
        return text
    expected = f"must be a URL such as {schemes[0]}://host:port"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(expected)
    return text


def _addresses(_setting: Setting, text: str) -> str:
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        try:
            if part != "*":
                ipaddress.ip_network(part, strict=False)
        except ValueError as error:
            raise ValueError(f'must be IP addresses, networks or *, not "{part[:60]}"') from error
    return ",".join(parts)


_READERS: Mapping[Kind, Callable[[Setting, str], Value]] = {
    Kind.TEXT: lambda _setting, text: text,
    Kind.ADDRESSES: _addresses,
    Kind.URL: _url,
    Kind.SWITCH: _switch,
    Kind.CHOICE: _choice,
    Kind.COUNT: _count,
    Kind.NUMBER: _number,
    Kind.SIZE: _size,
    Kind.DURATION: _duration,
}
