"""Attention heads: what they look at, what they do, what their weights say."""
