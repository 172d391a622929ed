"""Money as integer nano-dollars (10⁻⁹ US dollars); ``Decimal`` only at the edges, never ``float``."""

from decimal import ROUND_HALF_EVEN, Decimal

__all__ = ["NANO_PER_DOLLAR", "dollars", "format_dollars", "nanos"]

NANO_PER_DOLLAR = 1_000_000_000
_NANO = Decimal(NANO_PER_DOLLAR)


def nanos(amount: Decimal) -> int:
    """Convert US dollars to nano-dollars, rounding half to even."""
    return int((amount * _NANO).to_integral_value(rounding=ROUND_HALF_EVEN))


def dollars(nano: int) -> Decimal:
    """Convert nano-dollars to US dollars, exactly."""
    return Decimal(nano).scaleb(-9)


def format_dollars(nano: int) -> str:
    """Write nano-dollars as a plain decimal number of US dollars without trailing zeros, e.g. ``0.00123``."""
    sign, magnitude = ("-", -nano) if nano < 0 else ("", nano)
    whole, fraction = divmod(magnitude, NANO_PER_DOLLAR)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:09d}".rstrip("0")
