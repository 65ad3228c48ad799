"""JPEG XL, by imagecodecs (BSD-3), which keeps more than 8 bits."""

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.channels import over_white
from byol.data.formats.extras import JXL
from byol.data.formats.header import Header, check_size
from byol.data.formats.intensity import Array, depth_of, intensities
from byol.errors import BadImage

__all__ = ["SUFFIXES", "decode", "header", "sniff"]

SUFFIXES = JXL.suffixes

MARKS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a")
"""Of a bare codestream and of a container (ISO/IEC 18181-2)."""
