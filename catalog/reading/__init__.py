"""Rows and the files that they name, as models are given them: calibration and evaluation are read by the same code."""
