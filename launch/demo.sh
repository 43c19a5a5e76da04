#!/usr/bin/env bash
# From nothing to a trained, scored ip-MedGAN on the built-in head phantom, beside three classical fills on the same
# holes: environment, data, training, a table and a picture, in about ten minutes on two cores. Run again, it goes on
# where it stopped, and says so when it is done. What it makes is in .venv, runs/demo and the user's cache folder.
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
echo "Held-out phantoms, in the hole (means of subjects' means, 95 % intervals):"
python - $run/evaluation $run/{surround_mean,telea,biharmonic}/evaluation <<'TABLE'
import json, pathlib, sys
from ipmedgan_jax.evaluation import reports
print(reports.table([json.loads((pathlib.Path(folder) / "metrics.json").read_text()) for folder in sys.argv[1:]]))
TABLE
echo
echo "picture: $PWD/$run/evaluation/examples.png (image, context, inpainted, difference)"
