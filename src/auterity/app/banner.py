"""What the server says on the terminal once it serves."""

import shlex
from dataclasses import dataclass

import msgspec

from auterity import __version__

__all__ = ["FirstRun", "first_banner", "later_banner", "prepared"]


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What the first start made. The secrets are shown this once and kept nowhere in the clear."""

    email: str
    password: str
    api_key: str
    model: str
    """A model that answers without any provider's key."""


def first_banner(url: str, home: str, first: FirstRun) -> str:
    """The welcome with the first login, the first key and a call that works as it stands."""
    body = msgspec.json.encode({"model": first.model, "messages": [{"role": "user", "content": "Hello!"}]}).decode()
    return f"""
Auterity {__version__} is running at {url}   (Ctrl-C stops it; data in {home})

{_access(first)}
  The password and the key are shown this once. Try it:

    curl {url}/v1/chat/completions \\
      -H 'Authorization: Bearer {first.api_key}' \\
      -H 'Content-Type: application/json' \\
      -d {shlex.quote(body)}

  {first.model} is a built-in sandbox: it needs no provider and says so in its answers.
  API documentation   {url}/api/docs
"""


def later_banner(url: str, home: str) -> str:
    """Where things are; no secrets."""
    return f"""
Auterity {__version__} is running at {url}   (Ctrl-C stops it; data in {home})

  Keys                `auterity keys list`, `auterity keys create NAME`
  Models              `auterity models list`
  API documentation   {url}/api/docs
"""


def prepared(home: str, first: FirstRun | None) -> str:
    """What ``init`` says, where nothing runs yet."""
    if first is None:
        return f"{home} is ready. Start with `auterity serve`."
    return f"{home} is ready.\n\n{_access(first)}\n  They are shown this once. Start with `auterity serve`."


def _access(first: FirstRun) -> str:
    return f"""\
  Admin login   {first.email}
  Password      {first.password}
  Virtual key   {first.api_key}
"""
