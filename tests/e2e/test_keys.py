"""Virtual keys: what is done to a key holds for the very next call."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server


def _works(server: "Server", secret: str, say: "Say", model: str = "sandbox-small") -> bool:
    client = server.sdk(secret)
    try:
        client.chat.completions.create(model=model, messages=say("Hello"), max_tokens=5)
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        return False
    return True


def test_a_revoked_key_is_refused_at_the_very_next_call(server: "Server", say: "Say") -> None:
    for _ in range(10):
        key = server.management.key()
        assert _works(server, key["secret"], say)
        server.management.post(f"/keys/{key['id']}/revoke")
        assert not _works(server, key["secret"], say)


def test_a_new_key_works_at_once_even_if_it_was_tried_before_it_was_made(server: "Server", say: "Say") -> None:
    for _ in range(10):
        secret = f"legacy-{uuid.uuid4().hex}"
        assert not _works(server, secret, say)
        server.management.key(secret=secret)
        assert _works(server, secret, say)


def test_a_rotated_key_has_a_new_secret_at_once_and_the_old_one_no_longer(server: "Server", say: "Say") -> None:
    key = server.management.key()
    assert _works(server, key["secret"], say)
    rotated = server.management.post(f"/keys/{key['id']}/rotate")
    assert rotated["id"] == key["id"]
    assert _works(server, rotated["secret"], say)
    assert not _works(server, key["secret"], say)


def test_a_rotation_with_grace_lets_the_old_secret_go_on_until_it_ends(server: "Server", say: "Say") -> None:
    key = server.management.key()
    rotated = server.management.post(f"/keys/{key['id']}/rotate", grace_s=3600)
    assert _works(server, rotated["secret"], say)
    assert _works(server, key["secret"], say)
    assert len(server.management.get(f"/keys/{key['id']}")["secrets"]) == 2

    short = server.management.key()
    server.management.post(f"/keys/{short['id']}/rotate", grace_s=1)
    deadline = time.monotonic() + 10
    while _works(server, short["secret"], say):
        assert time.monotonic() < deadline, "the grace of a second does not end"


def test_the_models_of_a_key_can_be_changed(server: "Server", say: "Say") -> None:
    key = server.management.key(allowed_models=["sandbox-large"])
    assert not _works(server, key["secret"], say)
    server.management.patch(f"/keys/{key['id']}", allowed_models=["sandbox-small"])
    assert _works(server, key["secret"], say)
    assert not _works(server, key["secret"], say, "sandbox-large")
    server.management.patch(f"/keys/{key['id']}", allowed_models=None)
    assert _works(server, key["secret"], say, "sandbox-large")


def test_the_expiry_of_a_key_holds(server: "Server", say: "Say") -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = server.management.key(expires_at=soon.isoformat())
    assert _works(server, key["secret"], say)
    server.management.patch(f"/keys/{key['id']}", expires_at=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    assert not _works(server, key["secret"], say)
    server.management.patch(f"/keys/{key['id']}", expires_at=None)
    assert _works(server, key["secret"], say)


def test_a_secret_is_shown_once(server: "Server") -> None:
    key = server.management.key()
    for shown in (server.management.get(f"/keys/{key['id']}"), server.management.get("/keys", limit=1000)):
        assert key["secret"] not in str(shown)
    assert server.management.get(f"/keys/{key['id']}")["secrets"][0]["hint"] == key["secret"][-4:]


def test_the_last_use_is_noted(server: "Server", say: "Say") -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    key = server.management.key()
    assert key["last_used_at"] is None
    assert _works(server, key["secret"], say)
    deadline = time.monotonic() + 90
    while (used := server.management.get(f"/keys/{key['id']}")["last_used_at"]) is None:
        assert time.monotonic() < deadline, "the key's use is not noted"
        time.sleep(0.5)
    assert before <= datetime.fromisoformat(used) <= datetime.now(UTC)


def test_one_command_makes_and_revokes_a_key_while_the_server_runs(server: "Server", say: "Say") -> None:
    made = server.cli("keys", "create", "from-the-command-line", "--json")
    assert made.returncode == 0, made.stderr
    listed = server.management.get("/keys", limit=1000)["items"]
    key = next(each for each in listed if each["name"] == "from-the-command-line")
    secret = next(word for word in made.stdout.replace('"', " ").split() if word.startswith("ak-"))
    assert _works(server, secret, say)
    revoked = server.cli("keys", "revoke", key["id"], "--json")
    assert revoked.returncode == 0, revoked.stderr
    assert not _works(server, secret, say)
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        server.sdk(secret).models.list()
