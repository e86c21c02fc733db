"""What was computed for one pair and one prompt: recorded, marked, labelled."""
