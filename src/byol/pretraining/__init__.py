"""One pretraining run, from stored images to a trained encoder."""
