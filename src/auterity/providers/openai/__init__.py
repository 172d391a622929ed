"""The wire of OpenAI's API, which most providers and model servers speak too."""

from auterity.providers.openai.wire import OpenAIWire

__all__ = ["OpenAIWire"]
