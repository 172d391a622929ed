"""What can be wrong with the spool."""

from auterity.kit.errors import AuterityError, Unavailable

__all__ = ["FrameTooLarge", "NotASegment", "SpoolFull"]


class SpoolFull(Unavailable):
    """There is no room for another frame: the disk is full, or the reader is too far behind."""

    code = "spool_full"


class FrameTooLarge(AuterityError):
    """One payload is longer than a frame may be."""

    code = "frame_too_large"


class NotASegment(AuterityError):
    """The file does not begin as a segment does."""

    code = "not_a_segment"
