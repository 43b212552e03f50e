"""CIFAR-10 for mlreg: the data, the augmentation, the model and the schedule of one recipe."""
