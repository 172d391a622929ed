"""Reservations: the most that a call can cost, so that a hard budget is never overspent."""

from collections.abc import Sequence

from auterity.platform.models.plan import DeploymentPlan

__all__ = ["UNKNOWN_WINDOW", "ceiling"]

UNKNOWN_WINDOW = 1_000_000
"""Tokens assumed for a model whose context window nobody stated: larger than most, so that the bound holds."""


def ceiling(
    deployments: Sequence[DeploymentPlan],
    *,
    body_bytes: int,
    refers_to_media: bool,
    max_output_tokens: int | None,
    choices: int,
) -> int:
    """The most nano-dollars that the call can cost at the dearest of these deployments.

    A byte-level tokeniser makes at most one token of a byte, so the body's length bounds the input's tokens. Media may
    weigh more than the bytes that name them: such input is bounded by the context window only.

    Args:
        deployments: what may serve the call; those without a price count nothing.
        body_bytes: length of the request's body.
        refers_to_media: the request holds images, audio or files.
        max_output_tokens: the client's own limit for one choice.
        choices: answers asked for.
    """
    most = 0
    for deployment in deployments:
        price = deployment.price
        if price is None:
            continue
        window = deployment.context_window or UNKNOWN_WINDOW
        tokens_in = window if refers_to_media or body_bytes > window else body_bytes
        tokens_out = deployment.max_output_tokens
        if tokens_out is None or tokens_out > window:
            tokens_out = window
        if max_output_tokens is not None and max_output_tokens < tokens_out:
            tokens_out = max_output_tokens
        amount = price.ceiling(tokens_in, tokens_out * choices)
        if amount > most:  # noqa: PLR1730 - this is on the path of every call
            most = amount
    return most
