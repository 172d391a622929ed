"""Passwords, hashed with Argon2id (RFC 9106) beside the event loop, two at a time."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

__all__ = ["Passwords", "new_password"]

Result = TypeVar("Result")

_THREADS = 2
"""Each hash takes 46 MiB and a core: a rush of logins queues instead of taking the machine."""


def new_password() -> str:
    """Make a password of 120 bits that can be read aloud."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(5))


class Passwords:
    """Hashes and verifies. Parameters are OWASP's first choice for Argon2id: 46 MiB, one pass, one lane."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """The hash to store, with its parameters and salt."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Say whether the password is right. Without a stored hash the work is the same and the answer no."""
        right = await self._run(lambda: self._matches(stored or self._nobodys, password))
        return right and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Say whether a hash was made with other parameters and should be made again at the next login."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
