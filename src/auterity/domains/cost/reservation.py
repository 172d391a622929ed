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
        if deployment.price is None:
            continue
        window = deployment.context_window or UNKNOWN_WINDOW
        tokens_in = window if refers_to_media else min(body_bytes, window)
        limits = [limit for limit in (max_output_tokens, deployment.max_output_tokens) if limit is not None]
        tokens_out = min([*limits, window]) * choices
        most = max(most, deployment.price.ceiling(tokens_in, tokens_out))
    return most
