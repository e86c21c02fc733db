"""Computation on the models: the only home of torch and transformers."""
