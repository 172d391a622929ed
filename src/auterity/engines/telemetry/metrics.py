"""Prometheus metrics that cost a tenth of a microsecond, for several worker processes and one scrape.

Each process keeps its values in a memory-mapped file of 64-bit floats in the runtime directory, and beside it a list
of what they mean, one JSON object a line. Whoever is scraped reads all of them and adds up. The kernel keeps what was
written when a process dies, so its counts stay in the sums; its gauges do not, because they tell of the living.

Values are written by one thread, the event loop's. The text format is Prometheus' exposition format 0.0.4.
"""

import fcntl
import math
import mmap
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

import msgspec

__all__ = ["CONTENT_TYPE", "LATENCY_BUCKETS_S", "OTHER", "Counter", "Family", "Gauge", "Histogram", "Metrics", "clear"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OTHER = "other"
"""The value of every label of the series that takes what comes after a family's series are used up."""

LATENCY_BUCKETS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
)
"""From our own time on the path to a long answer, in seconds."""

Kind = Literal["counter", "gauge", "histogram"]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_WORD = 8


class _Series(msgspec.Struct, frozen=True):
    """One line of the list beside the values: what the words from ``slot`` on mean."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    values: tuple[str, ...]
    buckets: tuple[float, ...]
    slot: int

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.name, self.kind, self.labels, self.values, self.buckets)

    @property
    def words(self) -> int:
        """A histogram has a count for each bucket, one for what is above them all, and the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


class Counter:
    """A number that only grows."""

    __slots__ = ("_slot", "_words")

    def __init__(self, words: "memoryview[float]", series: _Series) -> None:
        self._words = words
        self._slot = series.slot

    def inc(self, by: float = 1) -> None:
        self._words[self._slot] += by


class Gauge:
    """A number that goes up and down; a scrape shows the sum over all living processes."""

    __slots__ = ("_slot", "_words")

    def __init__(self, words: "memoryview[float]", series: _Series) -> None:
        self._words = words
        self._slot = series.slot

    def set(self, value: float) -> None:
        self._words[self._slot] = value

    def inc(self, by: float = 1) -> None:
        self._words[self._slot] += by

    def dec(self, by: float = 1) -> None:
        self._words[self._slot] -= by


class Histogram:
    """How many observations fell into each of fixed buckets, and their sum."""

    __slots__ = ("_bounds", "_slot", "_sum", "_words")

    def __init__(self, words: "memoryview[float]", series: _Series) -> None:
        self._words = words
        self._slot = series.slot
        self._bounds = series.buckets
        self._sum = series.slot + len(series.buckets) + 1

    def observe(self, value: float) -> None:
        words = self._words
        words[self._slot + bisect_left(self._bounds, value)] += 1
        words[self._sum] += value


_Child = TypeVar("_Child", Counter, Gauge, Histogram)


class Family(Generic[_Child]):
    """All series of one name. Resolve the labels once and keep the child: that is what makes counting cheap."""

    def __init__(self, metrics: "Metrics", child: type[_Child], template: _Series, max_series: int) -> None:
        self._metrics = metrics
        self._child = child
        self._template = template
        self._max_series = max_series
        self._children: dict[tuple[str, ...], _Child] = {}
        # Made first, so that there is room for it whatever comes.
        self._overflow = self._make((OTHER,) * len(template.labels)) if template.labels else None

    def labels(self, *values: str) -> _Child:
        """The child for these values of the labels, in the order in which they were declared.

        Once ``max_series`` are in use, all further values share the one whose labels are :data:`OTHER`.

        Raises:
            ValueError: there are more or fewer values than labels.
        """
        child = self._children.get(values)
        if child is not None:
            return child
        if len(values) != len(self._template.labels):
            raise ValueError(f"{self._template.name} has the labels {self._template.labels}, not {len(values)} of them")
        if self._overflow is not None and len(self._children) >= self._max_series:
            return self._overflow
        try:
            return self._make(values)
        except _NoRoom:
            if self._overflow is None:
                raise
            return self._overflow

    def _make(self, values: tuple[str, ...]) -> _Child:
        child = self._metrics.claim(self._child, msgspec.structs.replace(self._template, values=values))
        self._children[values] = child
        return child


class _NoRoom(RuntimeError):
    """All words of the file are in use."""


@dataclass
class _Told:
    """A family as it is rendered."""

    series: _Series
    samples: dict[tuple[str, ...], list[float]] = field(default_factory=dict[tuple[str, ...], list[float]])


class Metrics:
    """The metrics of one process, and the way to tell those of all.

    A process that takes over the name of a dead one goes on with its counts. Where a living one has the name, a number
    is added to it.
    """

    def __init__(self, directory: Path, process: str, *, words: int = 65_536) -> None:
        """Open or create ``process``'s files in ``directory``; ``words`` bounds the values it can keep (8 bytes each).

        Raises:
            OSError: the directory cannot be written to or its disk is full.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._path, self._file = _claim_file(directory, process)
        size = os.fstat(self._file).st_size
        if size < words * _WORD:
            # Really allocated: touching a hole of a full disk would kill the process.
            os.posix_fallocate(self._file, 0, words * _WORD)
        self._map = mmap.mmap(self._file, 0)
        self._words: memoryview[float] = memoryview(self._map).cast("d")
        self._known = {series.identity: series for series in _listed(self._path)}
        self._free = max((series.slot + series.words for series in self._known.values()), default=0)
        self._families: dict[str, tuple[_Series, object]] = {}
        self._list = self._path.with_suffix(".series").open("ab", buffering=0)
        self._list.write(b"\n")  # ends a line that a crash cut off
        for series in self._known.values():
            if series.kind == "gauge":
                self._words[series.slot] = 0

    def counter(self, name: str, text: str, labels: Iterable[str] = (), *, max_series: int = 1000) -> Family[Counter]:
        """Declare a counter; its name ends in ``_total``."""
        if not name.endswith("_total"):
            raise ValueError(f"the counter {name} must end in _total")
        return self._family(Counter, _Series(name, "counter", text, tuple(labels), (), (), 0), max_series)

    def gauge(self, name: str, text: str, labels: Iterable[str] = (), *, max_series: int = 1000) -> Family[Gauge]:
        """Declare a gauge."""
        return self._family(Gauge, _Series(name, "gauge", text, tuple(labels), (), (), 0), max_series)

    def histogram(
        self,
        name: str,
        text: str,
        labels: Iterable[str] = (),
        *,
        buckets: Iterable[float] = LATENCY_BUCKETS_S,
        max_series: int = 200,
    ) -> Family[Histogram]:
        """Declare a histogram; ``buckets`` are upper bounds, inclusive, rising, without the last (infinite) one."""
        bounds = tuple(float(bound) for bound in buckets)
        if not bounds or list(bounds) != sorted(set(bounds)) or not all(map(math.isfinite, bounds)):
            raise ValueError(f"the buckets of {name} must be finite and rise")
        series = _Series(name, "histogram", text, tuple(labels), (), bounds, 0)
        return self._family(Histogram, series, max_series)

    def render(self) -> str:
        """All processes' metrics as Prometheus reads them."""
        told: dict[str, _Told] = {}
        for path in sorted(self._directory.glob("*.values")):
            for series, values in self._read(path):
                family = told.setdefault(series.name, _Told(series))
                first = family.series
                if (first.kind, first.labels, first.buckets) != (series.kind, series.labels, series.buckets):
                    continue  # a process of another version, on its way out
                kept = family.samples.get(series.values)
                family.samples[series.values] = (
                    values if kept is None else [a + b for a, b in zip(kept, values, strict=True)]
                )
        for name, (template, _) in self._families.items():
            told.setdefault(name, _Told(template))
        return "".join(line for name in sorted(told) for line in _lines(told[name]))

    def close(self) -> None:
        """Give the files up. The children must not be used any more."""
        self._words.release()
        self._map.close()
        self._list.close()
        os.close(self._file)

    def claim(self, child: type[_Child], wanted: _Series) -> _Child:
        """Give a series its words; for families only."""
        series = self._known.get(wanted.identity)
        if series is None:
            if self._free + wanted.words > len(self._words):
                raise _NoRoom(f"no room for another series of {wanted.name}")
            series = msgspec.structs.replace(wanted, slot=self._free)
            self._free += series.words
            self._known[series.identity] = series
            self._list.write(msgspec.json.encode(series) + b"\n")
        return child(self._words, series)

    def _family(self, child: type[_Child], template: _Series, max_series: int) -> Family[_Child]:
        if not _NAME.fullmatch(template.name):
            raise ValueError(f"{template.name} is no name of a metric")
        if not all(_LABEL.fullmatch(label) for label in template.labels) or "le" in template.labels:
            raise ValueError(f"{template.name} has a label that Prometheus does not allow")
        if template.name in self._families:
            raise ValueError(f"{template.name} is declared twice")
        family = Family(self, child, template, max_series)
        self._families[template.name] = (template, family)
        return family

    def _read(self, path: Path) -> Iterator[tuple[_Series, list[float]]]:
        if path == self._path:
            for series in self._known.values():
                yield series, list(self._words[series.slot : series.slot + series.words])
            return
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            alive = not _lock(descriptor, fcntl.LOCK_SH)
            listed = _listed(path)
            data = os.pread(descriptor, max((s.slot + s.words for s in listed), default=0) * _WORD, 0)
        finally:
            os.close(descriptor)
        words: memoryview[float] = memoryview(data[: len(data) // _WORD * _WORD]).cast("d")
        for series in listed:
            if series.slot + series.words <= len(words) and (alive or series.kind != "gauge"):
                yield series, list(words[series.slot : series.slot + series.words])


def clear(directory: Path) -> None:
    """Forget all processes' metrics; for the server's start, before its workers'."""
    for path in [*directory.glob("*.values"), *directory.glob("*.series")]:
        path.unlink(missing_ok=True)


def _claim_file(directory: Path, process: str) -> tuple[Path, int]:
    """Open the first file of this name that no living process holds; it stays locked while it is open."""
    number = 0
    while True:
        path = directory / (f"{process}.values" if number == 0 else f"{process}.{number}.values")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(descriptor, fcntl.LOCK_EX):
            return path, descriptor
        os.close(descriptor)
        number += 1


def _lock(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listed(path: Path) -> list[_Series]:
    """What the list beside ``path`` says; a last line that was cut off by a crash is not one."""
    try:
        lines = path.with_suffix(".series").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    found: list[_Series] = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=_Series))
        except msgspec.DecodeError:
            continue  # empty, or cut off by a crash
    return found


def _lines(told: _Told) -> Iterator[str]:
    series = told.series
    yield f"# HELP {series.name} {_escape(series.help)}\n# TYPE {series.name} {series.kind}\n"
    for values in sorted(told.samples):
        words = told.samples[values]
        if values and set(values) == {OTHER} and not any(words):
            continue  # nothing has overflowed
        labels = [f'{label}="{_escape(value, quote=True)}"' for label, value in zip(series.labels, values, strict=True)]
        if series.kind != "histogram":
            yield f"{series.name}{_braced(labels)} {_number(words[0])}\n"
            continue
        count = 0.0
        for bound, number in zip((*series.buckets, math.inf), words, strict=False):
            count += number
            within = _braced([*labels, f'le="{_number(bound)}"'])
            yield f"{series.name}_bucket{within} {_number(count)}\n"
        yield f"{series.name}_sum{_braced(labels)} {_number(words[-1])}\n"
        yield f"{series.name}_count{_braced(labels)} {_number(count)}\n"


def _braced(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
