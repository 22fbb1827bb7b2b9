"""How evidence is held against what a manifest demands, and how that reads. Brings no torch."""
