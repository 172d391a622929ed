"""The kinds of provider that there are, each with its wire."""

from collections.abc import Mapping

from auterity.kit.clock import Clock
from auterity.providers.anthropic import AnthropicWire
from auterity.providers.contract import Wire
from auterity.providers.openai import OpenAIWire
from auterity.providers.sandbox import SandboxWire

__all__ = ["wires"]


def wires(clock: Clock | None = None) -> Mapping[str, Wire]:
    """One wire for each kind, under the name that configurations use."""
    every: tuple[Wire, ...] = (OpenAIWire(clock=clock), AnthropicWire(clock), SandboxWire(clock))
    return {wire.name: wire for wire in every}
