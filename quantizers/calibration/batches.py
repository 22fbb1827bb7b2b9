"""How much passes a block at a time; planning reads it, too, so nothing is imported here."""

BATCH_TOKENS = 1024
"""Tokens that pass a block at a time, one row at the least."""
BATCH_FILES = 4
"""Files that do: a ViT makes 197 tokens of an image, Whisper 1500 of a sound."""
ABREAST = 256 << 20
"""Bytes that linears may have read before it is added to the moments."""
