"""The spool: framed segment files in which a fact outlives the process that wrote it, until it has been moved on."""
