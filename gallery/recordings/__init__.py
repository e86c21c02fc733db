"""Recordings of models that are not here, and how they were made."""
