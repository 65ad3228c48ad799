"""Where images come from, and their way from stored bytes to the batches of a step."""
