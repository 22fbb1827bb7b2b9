"""What each dtype does to each group of linears."""
