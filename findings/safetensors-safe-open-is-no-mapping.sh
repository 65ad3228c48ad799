#!/usr/bin/env bash
# safetensors.safe_open has keys(), offset_keys() and get_tensor(), but is no mapping: `for name in file` and `name in
# file` raise TypeError. A linter that knows dicts takes `for name in file.keys()` for a slip: ruff reports SIM118 ("use
# `key in dict`"), and its fix breaks the program at run time. The call of keys() must stay.
set -euo pipefail
SAFETENSORS=0.8.0 NUMPY=2.4.6 RUFF=0.17.6
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "safetensors==$SAFETENSORS" "numpy==$NUMPY" "ruff==$RUFF" 2>/dev/null
cat > "$folder/read.py" <<'PY'
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

save_file({"weight": np.ones(3, dtype=np.float32)}, sys.argv[1])
with safe_open(sys.argv[1], framework="numpy") as file:
    for name in file.keys():
        print(name, file.get_tensor(name).tolist())
PY
echo "safetensors $SAFETENSORS, ruff $RUFF"
run() { "$folder/venv/bin/python" "$folder/read.py" "$folder/x.safetensors" 2>&1 | tail -n 1; }
before=$(run || true)
"$folder/venv/bin/ruff" check --quiet --isolated --select SIM118 --fix --unsafe-fixes "$folder/read.py"
after=$(run || true)
printf 'as written: %s\nas ruff fixes it: %s\n' "$before" "$after"
if [ "$before" = "weight [1.0, 1.0, 1.0]" ] && [[ "$after" == "TypeError: "*"not iterable" ]]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
