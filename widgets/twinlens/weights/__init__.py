"""What was read from the weights of two models, as tables. Never imports torch."""
