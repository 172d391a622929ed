"""Promises of money: exact in nano-dollars, rounded once and to even."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.kit.money import NANO_PER_DOLLAR, dollars, format_dollars, nanos

_NANOS = st.integers(-(10**18), 10**18)
_AMOUNTS = st.decimals(-(10**6), 10**6, allow_nan=False, allow_infinity=False, places=12)


@given(_NANOS)
def test_nano_dollars_survive_the_way_through_dollars(nano: int) -> None:
    assert nanos(dollars(nano)) == nano


@given(_NANOS)
def test_dollars_are_exact(nano: int) -> None:
    assert Fraction(dollars(nano)) == Fraction(nano, NANO_PER_DOLLAR)


@given(_AMOUNTS)
def test_rounding_is_to_the_nearest_and_half_to_even(amount: Decimal) -> None:
    assert nanos(amount) == round(Fraction(amount) * NANO_PER_DOLLAR)


@pytest.mark.parametrize(("amount", "nano"), [("0.5e-9", 0), ("1.5e-9", 2), ("2.5e-9", 2), ("-0.5e-9", 0)])
def test_half_a_nano_dollar_goes_to_the_even_neighbour(amount: str, nano: int) -> None:
    assert nanos(Decimal(amount)) == nano


@given(_NANOS)
def test_written_dollars_read_back_as_the_same_amount(nano: int) -> None:
    assert nanos(Decimal(format_dollars(nano))) == nano


@given(_NANOS)
def test_written_dollars_are_plain(nano: int) -> None:
    written = format_dollars(nano)
    assert "e" not in written.lower()
    assert "." not in written or written[-1] not in "0."
    assert not written.startswith(("-0.0" + "0" * 9, "+"))


@pytest.mark.parametrize(
    ("nano", "written"),
    [(0, "0"), (1, "0.000000001"), (1_230_000, "0.00123"), (NANO_PER_DOLLAR, "1"), (-1_500_000_000, "-1.5")],
)
def test_dollars_are_written_without_trailing_zeros(nano: int, written: str) -> None:
    assert format_dollars(nano) == written
