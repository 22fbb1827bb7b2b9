"""A verdict as a page."""
