"""Virtual keys: what clients call the gateway with. ``plan`` is what the hot path knows of one."""
