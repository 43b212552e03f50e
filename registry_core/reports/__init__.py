"""What people look at: versions as one HTML page, drawn from what they recorded."""
