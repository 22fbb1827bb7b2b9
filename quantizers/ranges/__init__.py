"""How the scale of a group is chosen; one file per choice."""
