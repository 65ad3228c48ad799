#!/usr/bin/env bash
# rich ends the whole program when the reader of its output is gone: Console.print raises SystemExit(1), which neither
# `except OSError` nor `except Exception` catches, and points the process's standard output at /dev/null. A training
# loop under `python train.py | tee log` that reports with rich is over without its handlers when tee is ended first.
# A plain print raises BrokenPipeError in the same place.
set -euo pipefail
RICH=14.2.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rich==$RICH"
cat > "$folder/say.py" <<'PY'
import os
import sys

from rich.console import Console

reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(writer)
os.close(reader)  # whoever read is gone
heard = []
for name, say in (("print", lambda: print("one line", flush=True)), ("rich", lambda: Console().print("one line"))):
    try:
        say()
    except OSError as error:
        heard.append(f"{name}: {type(error).__name__}")
    except BaseException as error:
        heard.append(f"{name}: {type(error).__name__}({error.code}), not an OSError")
    else:
        heard.append(f"{name}: nothing raised")
heard.append(f"standard output is now {os.readlink('/proc/self/fd/1')}")
print("\n".join(heard), file=sys.stderr)
PY
echo "rich $RICH"
said=$("$folder/venv/bin/python" "$folder/say.py" 2>&1 >/dev/null || true)
echo "$said"
expected="print: BrokenPipeError
rich: SystemExit(1), not an OSError
standard output is now /dev/null"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
