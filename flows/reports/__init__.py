"""Pages over verdicts and their history."""
