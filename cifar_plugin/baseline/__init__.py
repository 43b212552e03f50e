"""The recipe that the first model was trained by: 123,466 parameters, Adam, 50 epochs."""
