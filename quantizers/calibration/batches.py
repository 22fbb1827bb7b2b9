"""How much passes a block at a time; planning reads it, too, so nothing is imported here."""

BATCH_TOKENS = 1024
"""Tokens that pass a block at a time, one row at the least."""
ABREAST = 256 << 20
"""Bytes that linears may have read before it is added to the moments."""
