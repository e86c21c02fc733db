"""Scores, tests and findings of a study."""
