"""What decides whether an alias moves to a version."""
