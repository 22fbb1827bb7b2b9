"""What this machine computes with, and how work is shared among its cores."""
