"""What can be said from weights alone, read layer by layer."""
