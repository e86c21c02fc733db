"""What the update from base to tuned is, and what it does: directions, effects, a dial."""
