"""The mainstream clients that a release's user will type: one file each, by the name of what is imported."""
