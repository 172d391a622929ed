"""Estimates of usage where the provider did not tell: a stream that ended early, an API that reports none."""

from auterity.kit.tokens import TokenUsage

__all__ = ["estimate_usage"]

_BYTES_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text ("What are tokens and how to count them?", OpenAI help centre)."""


def estimate_usage(*, body_bytes: int, content_events: int, answer_bytes: int) -> TokenUsage:
    """A marked estimate.

    Args:
        body_bytes: length of the request's body; its JSON syntax makes the estimate of the input a little high.
        content_events: chunks of a stream that were forwarded; providers send about one token in each.
        answer_bytes: length of a whole answer's body; 0 for streams.
    """
    return TokenUsage(
        input=-(-body_bytes // _BYTES_PER_TOKEN),
        output=content_events or -(-answer_bytes // _BYTES_PER_TOKEN),
        estimated=True,
    )
