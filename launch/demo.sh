#!/usr/bin/env bash
# Makes the environment, trains and scores an ip-MedGAN on the built-in head phantom, and scores three classical fills on the
# same holes; prints a table and makes a picture. Takes about ten minutes on two cores. If interrupted, run the same command
# again to continue. It writes to .venv, runs/demo and the user's cache folder.
if [[ ${1-} == --help || ${1-} == -h ]]; then sed -n '2,/^[^#]/{/^#/p}' "$0"; exit; fi
source "$(dirname "$0")/environment.sh"
make_environment ""

run=runs/demo
config=configs/demo.py
python -m ipmedgan_jax.main --config=$config --workdir=$run
for system in surround_mean telea biharmonic; do
  if [[ ! -f $run/$system/evaluation/metrics.json ]]; then
    python -m ipmedgan_jax.evaluate --config=$config --system=$system --workdir=$run/$system >/dev/null
  fi
done

echo
echo "Test phantoms, over the hole (means over subjects with 95 % intervals):"
python - $run/evaluation $run/{surround_mean,telea,biharmonic}/evaluation <<'TABLE'
import json, pathlib, sys
from ipmedgan_jax.evaluation import reports
print(reports.table([json.loads((pathlib.Path(folder) / "metrics.json").read_text()) for folder in sys.argv[1:]]))
TABLE
echo
echo "picture: $PWD/$run/evaluation/examples.png (image, context, inpainted, difference)"
