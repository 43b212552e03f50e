"""What people look at: a version, or several side by side, as one HTML page drawn from the record."""
