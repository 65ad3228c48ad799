"""Data augmentation in two halves: `draw` draws every random number of a batch, the rest applies them, purely."""
