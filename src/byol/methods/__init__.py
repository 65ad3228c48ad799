"""Pretraining methods, one file each: `forward(view1, view2) -> loss` and `update_target(tau)`."""
