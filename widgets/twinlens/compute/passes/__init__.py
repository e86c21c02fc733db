"""One pass through a model: what it reads, under which conditions, and what is kept of it."""
