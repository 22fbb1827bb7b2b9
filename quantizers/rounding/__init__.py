"""How a weight becomes a code; one file per choice."""
