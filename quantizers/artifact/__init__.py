"""Artifacts in the making."""
