"""CIFAR-10 for mlreg: the data, and one folder for each recipe that trains on it."""
