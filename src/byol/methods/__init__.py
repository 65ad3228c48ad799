"""Pretraining methods, one file each; `base.py` has their protocol, `table.py` all of them."""
