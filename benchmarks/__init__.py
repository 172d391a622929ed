"""Measurements of what this project promises, each runnable with ``python -m benchmarks.NAME`` from the root."""
