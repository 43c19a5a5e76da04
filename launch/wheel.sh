#!/usr/bin/env bash
# Builds the wheel, installs it with the tested versions in an empty environment, and runs it from /, away from the clone.
#   bash launch/wheel.sh [FOLDER]
# Writes the wheel, the environment and a run of four steps to FOLDER (by default a temporary one). PYTHON names the
# interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-$(mktemp -d)} python=${PYTHON:-python3}
mkdir -p "$folder"
folder=$(realpath "$folder")
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# The build uses a copy, because files of an earlier build would get into the wheel.
mkdir "$folder/source"
cp -R pyproject.toml README.md LICENSE licenses ipmedgan_jax configs "$folder/source"
"$python" -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" wheel --no-deps --wheel-dir "$folder" "$folder/source"
SECONDS=0
"${pip[@]}" install --constraint "tested-versions/python$version.txt" "$folder"/*.whl
echo "installed in $SECONDS s"

cd /
export PATH="$folder/venv/bin:$PATH"
timed() {
  SECONDS=0
  echo "\$ ipmedgan $*"
  ipmedgan "$@"
  echo "($SECONDS s)"
}
timed --version
timed inpaint --help
timed train --config=demo --config.train.steps=4 --workdir="$folder/run"
