"""Slows the guessing of passwords: attempts to log in are counted per account and per network address.

An account takes 10 attempts and an address 100 in a quarter of an hour; the counts are in the database, so that all
workers and nodes share them. An attempt is counted before its password is looked at, so that many at once gain nothing,
and a login that succeeds clears its account. Somebody who knows an address can lock its owner out of *logging in* for
that quarter of an hour (access tokens and virtual keys go on working): the price of stopping a guesser who has many
network addresses.
"""

import hmac
from datetime import timedelta

from auterity.engines.database.sessions import Database
from auterity.kit.clock import Clock
from auterity.platform.identity.errors import TooManyLogins
from auterity.platform.identity.repository import IdentityRepository

__all__ = ["MOST_PER_ACCOUNT", "MOST_PER_ADDRESS", "THROTTLE_PURPOSE", "WINDOW", "LoginThrottle"]

THROTTLE_PURPOSE = "login-throttle"
"""The key is ``Sealer.derive`` of this."""
WINDOW = timedelta(minutes=15)
MOST_PER_ACCOUNT = 10
MOST_PER_ADDRESS = 100


class LoginThrottle:
    """Counts attempts in fixed windows that begin with the first one."""

    def __init__(self, database: Database, *, key: bytes, clock: Clock) -> None:
        """
        Args:
            database: where the counts are.
            key: keys the hash under which accounts and addresses are counted: the table names nobody.
            clock: the time.
        """
        self._database = database
        self._key = key
        self._clock = clock

    async def admit(self, email: str, address: str) -> None:
        """Count an attempt.

        Raises:
            TooManyLogins: this one is too many.
        """
        now = self._clock.now()
        limits = {
            self._subject("account", email): MOST_PER_ACCOUNT,
            self._subject("address", address): MOST_PER_ADDRESS,
        }
        async with self._database.platform() as scope:
            repository = IdentityRepository(scope.session)
            # In one order, or two attempts could each wait for the other.
            counts = [await repository.count_attempt(subject, now, now - WINDOW) for subject in sorted(limits)]
            await repository.forget_attempts(before=now - WINDOW)
        waits = [
            (since + WINDOW - now).total_seconds()
            for subject, (attempts, since) in zip(sorted(limits), counts, strict=True)
            if attempts > limits[subject]
        ]
        if waits:
            raise TooManyLogins(max(1.0, *waits))

    async def clear(self, email: str) -> None:
        """Forget an account's attempts: its owner is in."""
        async with self._database.platform() as scope:
            await IdentityRepository(scope.session).clear_attempts(self._subject("account", email))

    def _subject(self, kind: str, name: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{name}".encode(), "sha256")
