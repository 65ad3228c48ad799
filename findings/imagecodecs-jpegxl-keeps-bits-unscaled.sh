#!/usr/bin/env bash
# imagecodecs gives a JPEG XL image of 10 or 12 bits as uint16 whose white is 1023 or 4095, and nothing that it returns
# says so: the array looks like one of 16 bits, and its values divided by 65535 are nearly black. The bits stand in the
# codestream's header alone, which a reader has to take apart itself to know what white is.
set -euo pipefail
IMAGECODECS=2026.3.6 NUMPY=2.3.5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "imagecodecs==$IMAGECODECS" "numpy==$NUMPY"
cat > "$folder/white.py" <<'PY'
import imagecodecs
import numpy as np

for bits in (8, 10, 12, 16):
    black_and_white = np.array([[0, 2**bits - 1]], np.uint8 if bits == 8 else np.uint16)
    stored = imagecodecs.jpegxl_encode(black_and_white, lossless=True, bitspersample=bits)
    read = imagecodecs.jpegxl_decode(stored)
    print(f"{bits} bits: {type(read).__name__} of {read.dtype}, white is {read.max()}")
PY
echo "imagecodecs $IMAGECODECS, NumPy $NUMPY"
said=$("$folder/venv/bin/python" "$folder/white.py")
echo "$said"
expected="8 bits: ndarray of uint8, white is 255
10 bits: ndarray of uint16, white is 1023
12 bits: ndarray of uint16, white is 4095
16 bits: ndarray of uint16, white is 65535"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
