"""Programs for those who work on Auterity."""
