"""What the host checks of a dataset, and what it remembers of it."""
