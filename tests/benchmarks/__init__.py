"""Measurements: what the package promises about time and memory, as ratios of one run."""
