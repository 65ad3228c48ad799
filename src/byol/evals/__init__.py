"""Evaluations: an encoder and data in, `{metric: value}` out. They know nothing of how the encoder was trained."""
