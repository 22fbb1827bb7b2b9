"""Architectures without a table: blocks, groups and absorbers are found by running the model's own code, and proven."""
