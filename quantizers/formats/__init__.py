"""What an artifact is stored as; one file per choice."""
