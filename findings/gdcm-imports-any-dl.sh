#!/usr/bin/env bash
# A file dl.py (deep learning) beside a script ends `import pydicom` once python-gdcm is installed, as it is for reading
# compressed DICOM. gdcm's wrapper tries the module `dl`, which Python 3 no longer has, for the flags with which it loads
# its library, and expects an ImportError; a file of that name on the path is imported instead, and lacks RTLD_NOW.
# pydicom imports its plugins when it is imported, so the script fails before it reads anything, and the message names
# no gdcm.
set -euo pipefail
PYDICOM=3.0.2 GDCM=3.2.6 NUMPY=2.3.5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pydicom==$PYDICOM" "python-gdcm==$GDCM" "numpy==$NUMPY"
mkdir "$folder/project"
echo 'import pydicom; print("pydicom", pydicom.__version__, "is imported")' > "$folder/project/scans.py"
try() {
  { "$folder/venv/bin/python" "$folder/project/scans.py" 2>&1 || true; } | tail -1
}
echo "pydicom $PYDICOM, python-gdcm $GDCM"
said=$(
  echo "alone: $(try)"
  echo 'RATE = 0.1' > "$folder/project/dl.py"
  echo "beside dl.py: $(try)"
  "$folder/venv/bin/pip" uninstall --quiet --yes python-gdcm
  echo "beside dl.py, without python-gdcm: $(try)"
)
echo "$said"
expected="alone: pydicom 3.0.2 is imported
beside dl.py: AttributeError: module 'dl' has no attribute 'RTLD_NOW'
beside dl.py, without python-gdcm: pydicom 3.0.2 is imported"
if [ "$said" = "$expected" ]; then
  echo "as it was found"
else
  echo "this has changed"
  exit 1
fi
