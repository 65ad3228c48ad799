#!/usr/bin/env bash
# tifffile.imwrite(file, array) of one picture of height x width x bands makes `height` pages of width x bands, unless
# there are 3 or 4 bands of 8 or 16 bits. Pillow then opens a picture of one line per page, without a word: a multispectral
# picture of 64 x 64 px with 13 bands becomes 64 pictures of 13 x 64 px. tifffile itself reads the shape back, from a note
# that it writes into the file. planarconfig="contig" writes what was meant.
set -euo pipefail
TIFFFILE=2025.10.16 PILLOW=12.0.0 NUMPY=2.3.4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "tifffile==$TIFFFILE" "pillow==$PILLOW" "numpy==$NUMPY" 2>/dev/null
cat > "$folder/write.py" <<'PY'
import sys

import numpy as np
import tifffile
from PIL import Image

file = sys.argv[1]
for bands, dtype in ((3, "uint16"), (4, "uint8"), (2, "uint8"), (13, "uint16")):
    picture = np.arange(64 * 64 * bands).reshape(64, 64, bands).astype(dtype)
    tifffile.imwrite(file, picture)
    with tifffile.TiffFile(file) as opened:
        pages, one = len(opened.pages), opened.pages[0].shape
    print(f"64 x 64 x {bands} {dtype}: {pages} pages of {one}; tifffile reads {tifffile.imread(file).shape}")
tifffile.imwrite(file, picture.astype("uint8"))
with Image.open(file) as opened:
    print(f"Pillow: {opened.n_frames} pictures of width x height {opened.size}, mode {opened.mode}")
tifffile.imwrite(file, picture, planarconfig="contig")
with tifffile.TiffFile(file) as opened:
    print(f"contig: {len(opened.pages)} page of {opened.pages[0].shape}")
PY
echo "tifffile $TIFFFILE, Pillow $PILLOW"
said=$("$folder/venv/bin/python" -W ignore "$folder/write.py" "$folder/picture.tif" 2>/dev/null)
echo "$said"
expected="64 x 64 x 3 uint16: 1 pages of (64, 64, 3); tifffile reads (64, 64, 3)
64 x 64 x 4 uint8: 1 pages of (64, 64, 4); tifffile reads (64, 64, 4)
64 x 64 x 2 uint8: 64 pages of (64, 2); tifffile reads (64, 64, 2)
64 x 64 x 13 uint16: 64 pages of (64, 13); tifffile reads (64, 64, 13)
Pillow: 64 pictures of width x height (13, 64), mode L
contig: 1 page of (64, 64, 13)"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
