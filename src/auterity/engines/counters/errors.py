"""What can be wrong with what a counter is asked."""

from auterity.kit.errors import InvalidRequest

__all__ = ["MAX_AMOUNT", "AmountOutOfRange", "InvalidCountersUrl", "check_amount"]

MAX_AMOUNT = 2**53 - 1
"""The largest amount a counter keeps: whole numbers up to here are exact in a Lua script, whose only numbers are
doubles. In nano-dollars it is a little over nine million dollars for one budget."""


class AmountOutOfRange(InvalidRequest):
    """An amount, a limit or a spent figure that cannot be kept exactly."""

    code = "amount_out_of_range"


class InvalidCountersUrl(InvalidRequest):
    """The address of the shared counters cannot be understood."""

    code = "invalid_counters_url"


def check_amount(*amounts: int) -> None:
    """Let pass what every adapter can keep exactly.

    Raises:
        AmountOutOfRange: an amount is negative or above :data:`MAX_AMOUNT`.
    """
    for amount in amounts:
        if not 0 <= amount <= MAX_AMOUNT:
            raise AmountOutOfRange(f"An amount must be between 0 and {MAX_AMOUNT}; this one is {amount}.")
