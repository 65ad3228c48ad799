#!/usr/bin/env bash
# Importing lightly_train switches Pillow's ImageFile.LOAD_TRUNCATED_IMAGES on for the whole process. From then on a file
# that was cut short, by a broken download for example, gives a picture whose missing part is one flat color, without an
# error or a word, and not only in LightlyTrain: torchvision's ImageFolder or one's own Image.open in the same process
# read it as well. Before the import the same lines raise OSError. Who counts broken files this way must do it in another
# process, or set the flag back after the import.
set -euo pipefail
VERSION=0.18.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "lightly-train==$VERSION"
cat > "$folder/half.py" <<'PY'
import io

import numpy as np
from PIL import Image, ImageFile

whole = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(whole, "JPEG")
half = whole.getvalue()[: len(whole.getvalue()) // 2]


def look() -> str:
    try:
        pixels = np.asarray(Image.open(io.BytesIO(half)).convert("RGB"))
    except OSError as error:
        return f"OSError: {str(error)[:24]}"
    last = pixels[-64:]
    return f"{pixels.shape} without an error; the last 64 rows have {len(np.unique(last.reshape(-1, 3), axis=0))} color(s)"


print("before:", ImageFile.LOAD_TRUNCATED_IMAGES, "|", look())
import lightly_train  # noqa: E402, F401

print("after:", ImageFile.LOAD_TRUNCATED_IMAGES, "|", look())
PY
echo "lightly-train $VERSION, Pillow $("$folder/venv/bin/python" -c 'import PIL; print(PIL.__version__)')"
said=$("$folder/venv/bin/python" "$folder/half.py" 2> /dev/null)
echo "$said"
if grep -q '^before: False | OSError: image file is truncated' <<< "$said" \
  && grep -q '^after: True | (256, 256, 3) without an error; the last 64 rows have 1 color(s)' <<< "$said"; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
