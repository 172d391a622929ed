"""The name of a node: made once, kept beside its spool, part of everything that its collector writes."""

import os
from pathlib import Path

__all__ = ["node_name"]

_FILE = "node"


def node_name(spool: Path) -> str:
    """The node that this spool belongs to; named on first use.

    Raises:
        OSError: the name can be neither read nor written.
    """
    file = spool / _FILE
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        unfinished = spool / f"{_FILE}.{os.getpid()}.new"
        unfinished.write_text(os.urandom(6).hex() + "\n")
        try:
            # Unlike a rename, a link never replaces the name that another process has just given.
            os.link(unfinished, file)
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
        return file.read_text().strip()
