"""Traces computed on demand."""
