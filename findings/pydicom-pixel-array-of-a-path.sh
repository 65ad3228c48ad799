#!/usr/bin/env bash
# pydicom's pixel_array(path), made to read pixels with less memory than dcmread(path).pixel_array, fails on files that
# the latter reads. A deflated file (transfer syntax 1.2.840.10008.1.2.1.99) is said to have no pixel data, though both
# get the same path, and the file is one that pydicom ships. A reader of other people's scans has to fall back to dcmread.
set -euo pipefail
PYDICOM=3.0.2 NUMPY=2.3.5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pydicom==$PYDICOM" "numpy==$NUMPY"
cat > "$folder/read.py" <<'PY'
import warnings

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

warnings.simplefilter("ignore")
for name in ("CT_small.dcm", "image_dfl.dcm"):
    path = get_testdata_file(name, download=False)
    print(name, dcmread(path).file_meta.TransferSyntaxUID.name)
    print("  dcmread(path).pixel_array:", dcmread(path).pixel_array.shape)
    try:
        print("  pixel_array(path):", pixel_array(path).shape)
    except AttributeError as error:
        print("  pixel_array(path):", type(error).__name__, str(error)[:42])
PY
echo "pydicom $PYDICOM, NumPy $NUMPY"
said=$("$folder/venv/bin/python" "$folder/read.py")
echo "$said"
expected="CT_small.dcm Explicit VR Little Endian
  dcmread(path).pixel_array: (128, 128)
  pixel_array(path): (128, 128)
image_dfl.dcm Deflated Explicit VR Little Endian
  dcmread(path).pixel_array: (512, 512)
  pixel_array(path): AttributeError The dataset in 'src' has no 'Pixel Data', "
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
