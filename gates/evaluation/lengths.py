"""How many tokens are run at once; planning reads it, too, so nothing is imported here."""

STREAMED_TOKENS = 1024
"""Tokens that are run at once where weights are read from their files, one row at the least: bounds activations and logits."""
ABREAST_TOKENS = 8192
"""Tokens that each reading of the weights is for: bounds the hidden states between two blocks."""
LONG_ROWS = 4
"""Length of the long row, in evaluation rows."""
STOCK_ROWS, STOCK_TOKENS = 4, 32
"""Rows that the stock loader is given with the first blocks of an artifact that is streamed, and tokens of each."""
