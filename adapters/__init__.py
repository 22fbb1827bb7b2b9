"""A quantized base and text in, a low-rank adapter out."""
