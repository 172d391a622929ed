"""Secrets at rest: where the master keys come from (port and adapters), and how values are sealed with them."""
