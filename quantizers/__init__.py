"""Weights in, smaller weights out."""
