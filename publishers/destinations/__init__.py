"""Where releases go."""
