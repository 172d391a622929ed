"""Stands in for the preparation: the first time it makes an access, later none."""

import sys

import msgspec

from auterity.app import child
from auterity.app.banner import FirstRun
from auterity.app.preparing import Prepared

launch = child.begin()
marker = launch.settings.home / "run" / "prepared"
first = None if marker.exists() else FirstRun("admin@localhost", "the-password", "ak-the-key", "sandbox-model")
marker.touch()
sys.stdout.buffer.write(msgspec.json.encode(Prepared(first=first)))
