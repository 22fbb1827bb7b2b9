"""What the archived stack of engine itrex reads."""
