"""Feed-forward layers: components, neurons, and the words they stand for."""
