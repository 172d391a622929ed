"""The sandbox's wire: OpenAI's, under its own name."""

from auterity.kit.clock import Clock
from auterity.providers.openai import OpenAIWire

__all__ = ["SANDBOX_BASE_URL", "SandboxWire"]

SANDBOX_BASE_URL = "http://sandbox.invalid/v1"
"""Where the sandbox is in-process: nowhere (RFC 2606); only its own transport answers there."""


class SandboxWire(OpenAIWire):
    """Implements :class:`auterity.providers.contract.Wire` for the sandbox."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__("sandbox", clock)
