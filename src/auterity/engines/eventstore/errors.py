"""What can be wrong with the event store."""

from auterity.kit.errors import Unavailable

__all__ = ["EventStoreBusy", "EventStoreFailed"]


class EventStoreBusy(Unavailable):
    """The question takes too long."""

    code = "event_store_busy"


class EventStoreFailed(Unavailable):
    """The query process died."""

    code = "event_store_failed"
