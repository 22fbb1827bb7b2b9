"""Fingerprints of files, safetensors headers, documents: what is read without loading a model."""
