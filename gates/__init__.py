"""Artifact in, evidence and verdict out."""
