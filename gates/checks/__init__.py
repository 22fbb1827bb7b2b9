"""What must hold of an artifact whatever the thresholds say; each function returns one `Check`."""
