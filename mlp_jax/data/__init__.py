"""Data sets as arrays: digits, CIFAR-10 and a synthetic one, their splits, and their pixels as network inputs."""
