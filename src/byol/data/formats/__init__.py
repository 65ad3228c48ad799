"""How one image is stored: a file per format."""
