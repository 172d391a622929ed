"""The sandbox: a provider without models, so that a first run, examples and tests need no key and cost nothing.

It speaks OpenAI's API in OpenAI's shapes, says in every answer that no model was called, gives the same answer to the
same request, takes the time that a model would take, counts tokens, and fails on command (see :mod:`.faults`).
"""

from auterity.providers.sandbox.models import SANDBOX_MODELS, SandboxModel
from auterity.providers.sandbox.service import SandboxService, SandboxSettings
from auterity.providers.sandbox.transport import SandboxTransport
from auterity.providers.sandbox.wire import SANDBOX_BASE_URL, SandboxWire

__all__ = [
    "SANDBOX_BASE_URL",
    "SANDBOX_MODELS",
    "SandboxModel",
    "SandboxService",
    "SandboxSettings",
    "SandboxTransport",
    "SandboxWire",
]
