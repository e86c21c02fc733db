"""What any part may use: files, progress, memory."""
