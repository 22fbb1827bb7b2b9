"""A manifest: read with line numbers, checked, resolved to frozen models with explicit recipes."""
