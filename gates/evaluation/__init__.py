"""Running original and artifact over the evaluation text."""
