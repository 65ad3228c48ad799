"""LARS, and the schedules of the learning rate and of tau."""
