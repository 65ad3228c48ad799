#!/usr/bin/env bash
# cleanlab's Datalab without its extra raises an ImportError that says what to install, and then holds everything that
# the constructor was given: all data, printed. With a table of a million labels, or of file names that are nobody's
# business, the one helpful sentence scrolls away and the rest lands in logs. Other classes of cleanlab work without the
# extra, so `import cleanlab` and `from cleanlab import Datalab` both succeed.
set -euo pipefail
CLEANLAB=2.9.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "cleanlab==$CLEANLAB"
cat > "$folder/missing.py" <<'PY'
from cleanlab import Datalab

for count in (10, 1000, 100_000):
    try:
        Datalab({"y": list(range(count))}, label_name="y")
    except ImportError as error:
        told = str(count - 1) in str(error)
        print(f"{count} labels: ImportError of {len(str(error))} characters; holds the last label: {told}")
PY
echo "cleanlab $CLEANLAB"
said=$("$folder/venv/bin/python" "$folder/missing.py")
echo "$said"
if [ "$(grep -c 'holds the last label: True' <<< "$said")" = 3 ] && grep -q '100000 labels: ImportError of [0-9]\{6\}' <<< "$said"; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
