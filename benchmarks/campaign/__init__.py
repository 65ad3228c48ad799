"""Everything that is measured on a GPU, in small units: `gpu.py` runs them in order of worth, over as many calls as
they need."""
