"""The baseline recipe: 123,466 parameters, Adam, 50 epochs."""
