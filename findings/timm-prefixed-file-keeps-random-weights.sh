#!/usr/bin/env bash
# timm's create_model with a local file of weights, pretrained=True and pretrained_cfg_overlay={"file": ...}, raises
# nothing where no weight of the file fits: keys under `backbone.` or `encoder.`, as self-supervised checkpoints have
# them, leave the whole network at its random weights. All that is said is one line of the log at the level WARNING, of
# "Unexpected keys"; that every key is missing is not said. `module.` comes off by itself, so a file from
# DistributedDataParallel works, and suggests that the others would. The same call with keys that fit, but of another
# shape, does raise. Who trusts the call evaluates, or goes on from, a random network.
# The wheels and what they need take some GB for a while.
set -euo pipefail
TORCH=2.14.1 TORCHVISION=0.29.1 TIMM=1.0.31
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==$TORCH" "torchvision==$TORCHVISION" "timm==$TIMM"
cat > "$folder/load.py" <<'PY'
import logging
import sys
from pathlib import Path

import timm
import torch

logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(levelname)s %(message).41s")
file = Path(sys.argv[1]) / "weights.pth"
torch.manual_seed(0)
given = timm.create_model("resnet18", num_classes=0).state_dict()
for prefix in ("", "module.", "backbone.", "encoder."):
    torch.save({prefix + key: value for key, value in given.items()}, file)
    torch.manual_seed(1)
    model = timm.create_model("resnet18", num_classes=0, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    loaded = model.state_dict()
    kernels = [key for key, value in given.items() if value.ndim == 4]
    equal = sum(torch.equal(loaded[key], given[key]) for key in kernels)
    print(f"prefix {prefix!r}: {equal} of {len(kernels)} convolutions are those of the file")
PY
echo "timm $TIMM, torch $TORCH"
said=$("$folder/venv/bin/python" "$folder/load.py" "$folder")
echo "$said"
expected="prefix '': 20 of 20 convolutions are those of the file
prefix 'module.': 20 of 20 convolutions are those of the file
WARNING Unexpected keys (backbone.conv1.weight, b
prefix 'backbone.': 0 of 20 convolutions are those of the file
WARNING Unexpected keys (encoder.conv1.weight, en
prefix 'encoder.': 0 of 20 convolutions are those of the file"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
