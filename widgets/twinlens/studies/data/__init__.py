"""Cases: many prompts and what was computed for them, from files or the published release."""
