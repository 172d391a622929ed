"""Anthropic's Messages API, translated from and to OpenAI's chat completions."""

from auterity.providers.anthropic.wire import AnthropicWire

__all__ = ["AnthropicWire"]
