"""remember: keep the answer for the next who asks the same. There is no cache yet: nothing is kept."""

from auterity.gateway.exchange import Exchange

__all__ = ["Remember"]


class Remember:
    """Stores what `recall` may answer from. It runs only for answers that are worth keeping."""

    async def __call__(self, exchange: Exchange) -> None:
        """Keep nothing while caching is off."""
