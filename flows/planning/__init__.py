"""What is stale, why, in which steps, and what it will cost. Loads no model and imports no torch."""
