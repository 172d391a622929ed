"""The nine services. Domains never import each other."""
