"""Tenants: the companies that share an installation and see nothing of each other.

Their table is ``engines.database.tables.Tenant``, for every tenant's row refers to it.
"""
