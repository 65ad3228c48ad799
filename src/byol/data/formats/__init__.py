"""Image formats: one file per format, listed in the table of `registry.py`."""
