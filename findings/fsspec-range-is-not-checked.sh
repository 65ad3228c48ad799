#!/usr/bin/env bash
# fsspec's cat_file(url, start=a, end=b) over HTTP gives the whole file, and no error, where the server does not know
# ranges: it asks for one and does not look whether the answer is one. Who reads members of an archive by offset gets the
# archive's beginning every time, and downloads all of it for each. The file object that the same package opens does
# check, and raises ValueError. Python's own http.server is a server without ranges.
set -euo pipefail
FSSPEC=2026.9.0 AIOHTTP=3.14.5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "fsspec==$FSSPEC" "aiohttp==$AIOHTTP"
cat > "$folder/ranges.py" <<'PY'
import functools
import http.server
import sys
import tempfile
import threading
from pathlib import Path

import fsspec


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


with tempfile.TemporaryDirectory() as folder:
    data = bytes(range(256)) * 4096
    Path(folder, "file.bin").write_bytes(data)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/file.bin"
    files = fsspec.filesystem("http")
    found = files.cat_file(url, start=1000, end=1010)
    print(f"cat_file of 10 bytes: {len(found)} bytes, from the file's {'beginning' if found == data else 'middle'}")
    try:
        with files.open(url, block_size=1024) as file:
            file.seek(1000)
            print("open, seek and read: ", len(file.read(10)))
    except ValueError:
        print("open, seek and read: ValueError")
    server.shutdown()
PY
echo "fsspec $FSSPEC, aiohttp $AIOHTTP"
said=$("$folder/venv/bin/python" "$folder/ranges.py" 2>/dev/null || true)
echo "$said"
expected="cat_file of 10 bytes: 1048576 bytes, from the file's beginning
open, seek and read: ValueError"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
