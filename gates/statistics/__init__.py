"""Quantities, their confidence bounds, and when to stop scoring. Imports no torch."""
