"""The model card and what it is made of."""
