"""Whether an adapter has learned its task, and how far its base has moved elsewhere."""
