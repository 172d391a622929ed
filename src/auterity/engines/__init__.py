"""Ports to the outside world, each with an embedded and a distributed adapter."""
