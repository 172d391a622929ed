"""Models, the providers that serve them, and their prices."""
