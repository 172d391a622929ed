"""Promises of the clocks: the three faces of one clock agree, and a manual one moves only when it is moved."""

import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from hypothesis import given
from hypothesis import strategies as st

from auterity.kit.clock import Clock, ManualClock, SystemClock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])


def _moment(since: timedelta, zone: tzinfo) -> datetime:
    return (_EPOCH + since).astimezone(zone)


_MOMENTS = st.builds(_moment, st.timedeltas(timedelta(days=-1), timedelta(days=84_000)), _ZONES)
_STEPS = st.lists(st.timedeltas(timedelta(0), timedelta(days=400)), max_size=5)


@given(_MOMENTS)
def test_a_manual_clock_stands_still_at_its_moment_in_utc(moment: datetime) -> None:
    clock = ManualClock(moment)
    assert clock.now() == clock.now() == moment
    assert clock.now().tzinfo is UTC


@given(_MOMENTS, _STEPS)
def test_all_faces_of_a_manual_clock_move_together(moment: datetime, steps: list[timedelta]) -> None:
    clock = ManualClock(moment)
    begin_us, begin_ns = clock.epoch_us(), clock.monotonic_ns()
    for step in steps:
        clock.advance(step)
    passed = sum(steps, timedelta(0))
    assert clock.now() - moment == passed
    assert clock.epoch_us() - begin_us == passed // timedelta(microseconds=1)
    assert clock.monotonic_ns() - begin_ns == 1_000 * (passed // timedelta(microseconds=1))


@given(_MOMENTS)
def test_the_epoch_is_exact_to_the_microsecond(moment: datetime) -> None:
    assert ManualClock(moment).epoch_us() == (moment - _EPOCH) // timedelta(microseconds=1)


def test_the_systems_clock_is_the_machines_and_never_goes_back() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.now().timestamp() - time.time()) < 5
    assert abs(clock.epoch_us() - time.time_ns() // 1_000) < 5_000_000
    readings = [clock.monotonic_ns() for _ in range(1_000)]
    assert readings == sorted(readings)
