# Sourced by the other scripts. Makes or reuses .venv at the root, with the package and the extras named in $1.
# PYTHON names the interpreter (3.11 or 3.12); by default the first suitable one on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_suitable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python; do
    if command -v "$candidate" >/dev/null && is_suitable "$candidate"; then command -v "$candidate"; return; fi
  done
  echo "error: no Python 3.11 or 3.12 with venv and pip found; install one, or name it: PYTHON=/path/to/python3.12 $0" >&2
  return 2
}

make_environment() {
  local extras=$1 venv=${VENV:-.venv} expected
  if [[ -e $venv ]] && ! { is_suitable "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    # An environment that is half made or of another Python is replaced; any other folder is kept.
    if [[ -e $venv/pyvenv.cfg ]]; then rm -rf "$venv"; else
      echo "error: $venv is not an environment of Python 3.11 or 3.12; move it away, or set VENV" >&2
      return 2
    fi
  fi
  if [[ ! -x $venv/bin/python ]]; then
    local python
    python=$(find_python)
    echo "making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
  fi
  local tested
  tested=tested-versions/python$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
  expected="$extras $(cat pyproject.toml "$tested" | cksum)"
  if [[ $(cat "$venv/installed-$extras" 2>/dev/null || true) != "$expected" ]]; then
    echo "installing the package and its dependencies (once, takes some minutes)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$tested" --editable ".${extras:+[$extras]}"
    echo "$expected" >"$venv/installed-$extras"
  fi
  export PATH="$PWD/$venv/bin:$PATH"
}
