"""Equivalent scaling folded into the network before rounding; one file per choice."""
