"""The schema's history, applied by ``engines.database.migration``.

One file per step in ``versions/``, named ``NNNN_noun.py``, with ``revision = "NNNN"`` and ``down_revision`` the step
before it. Steps only go forward: a mistake is mended by the next step. Every table with a ``tenant_id`` calls
:func:`~auterity.engines.database.migrations.row_security.guard` in the step that creates it.

A step that reads or changes tenants' rows begins with ``SET LOCAL ROLE auterity_operator`` and ends with
``RESET ROLE``, for the owner of the tables sees no rows either.
"""
