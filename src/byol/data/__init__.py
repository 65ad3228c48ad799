"""From stored images to the batches of a step: sources, formats, order, and loading."""
