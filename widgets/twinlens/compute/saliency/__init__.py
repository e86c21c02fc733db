"""What every prompt token does to every answer token."""
