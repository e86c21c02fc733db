"""What of tuned carries its difference from base: parts exchanged, measured, searched."""
