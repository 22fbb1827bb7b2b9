"""Passing artifact in, release out."""
