"""CIFAR-10 for mlreg: the data, and the recipes that train on it, a folder each."""
