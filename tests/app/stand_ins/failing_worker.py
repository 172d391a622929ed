"""Stands in for a worker that cannot start."""

import sys

sys.exit("the stand-in worker cannot start")
