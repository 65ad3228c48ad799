"""Faults that a run may meet, tried one by one: `run.py` tries them, each part of the campaign is a file."""
