"""PostgreSQL: the embedded server or any other by URL, its schema's migrations, and transactions in a scope.

``address`` reads URLs, ``embedded`` runs the server of the home folder, ``migration`` brings the schema up to date,
``sessions`` opens transactions, ``listen`` hears that a tenant's plan has changed, ``connection`` is the plain driver.
"""
