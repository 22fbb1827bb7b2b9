"""What keeps a verdict honest: text that was calibrated on is found in the evaluation, and a known-bad copy must be refused."""
