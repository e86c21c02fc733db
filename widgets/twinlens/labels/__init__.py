"""Naming and labelling concepts: by a function, a file, a person or an endpoint."""
