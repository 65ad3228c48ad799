#!/usr/bin/env bash
# fsspec says FileNotFoundError of a web server that cannot be reached at all, as of a file that a server does not have;
# only __cause__ tells them apart, and exists() is False for both. Code that passes over missing shards takes a lost
# connection for a smaller data set and trains on what is left.
set -euo pipefail
FSSPEC=2026.9.0 AIOHTTP=3.14.5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "fsspec==$FSSPEC" "aiohttp==$AIOHTTP"
cat > "$folder/ask.py" <<'PY'
import functools
import http.server
import socket
import tempfile
import threading

import fsspec


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def ask(name, url):
    files = fsspec.filesystem("http", skip_instance_cache=True)
    try:
        files.info(url)
    except OSError as error:
        print(f"{name}: {type(error).__name__}, because of {type(error.__cause__).__name__}; exists: {files.exists(url)}")


with tempfile.TemporaryDirectory() as folder:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ask("file is missing", f"http://127.0.0.1:{server.server_port}/shard-000.tar")
    server.shutdown()
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
ask("no server there", f"http://127.0.0.1:{port}/shard-000.tar")
PY
echo "fsspec $FSSPEC, aiohttp $AIOHTTP"
said=$("$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null || true)
echo "$said"
expected="file is missing: FileNotFoundError, because of ClientResponseError; exists: False
no server there: FileNotFoundError, because of ClientConnectorError; exists: False"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
