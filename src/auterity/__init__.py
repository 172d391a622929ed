"""Auterity: one endpoint in front of every AI model a company uses."""

__all__ = ["__version__"]

__version__ = "0.1.0"
