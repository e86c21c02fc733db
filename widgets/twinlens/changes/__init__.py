"""What changed between the weights of two models, as tables and figures."""
