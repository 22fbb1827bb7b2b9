"""The calibrated pass: text, hidden states, blocks, second moments, and the rounding of one block at a time."""
