#!/usr/bin/env bash
# torchrun reads the flags that come after the script's name: one that is short for two of its own ends the launch.
# `torchrun train.py --monitor data` fails with "ambiguous option: --monitor could match --monitor-interval,
# --monitor_interval", so no script started by it can have a flag --monitor, --log, --node, --master or --no, though
# everything from the script on is documented as the script's. Both spellings of each option, with - and with _, make
# even a single option ambiguous. A `--` before the script helps. Seen with Python 3.11, whose argparse decides it.
# torchrun answers before it starts a process, so no GPU is needed; the wheel and what it needs take some GB for a while.
set -euo pipefail
TORCH=2.14.1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==$TORCH"
cat > "$folder/train.py" <<'PY'
import sys

print("the script gets", sys.argv[1:])
PY
version=$(python3 -c 'import sys; print(".".join(map(str, sys.version_info[:3])))')
echo "torch $TORCH, Python $version"
launch() {
  { "$folder/venv/bin/torchrun" --nproc-per-node 1 "$@" 2>&1 || true; } | grep -E "ambiguous|the script gets"
}
said=$(
  launch "$folder/train.py" --monitor data
  launch "$folder/train.py" --monitor-data data
  launch -- "$folder/train.py" --monitor data
)
echo "$said"
expected="torchrun: error: ambiguous option: --monitor could match --monitor-interval, --monitor_interval
the script gets ['--monitor-data', 'data']
the script gets ['--monitor', 'data']"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
