"""Usage: one event per call, collected exactly once, told in reports."""
