"""Encoders: built from a spec, loaded, saved and exported."""
