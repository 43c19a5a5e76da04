#!/usr/bin/env bash
# Makes the environment and injects faults: kills, damaged checkpoints, records and models, hostile files, a long run. Each part
# prints how many faults were injected, noticed and silent; exit code 1 if any is silent. Arguments go to benchmarks/soak:
#   bash launch/soak.sh                      # a few of each, minutes
#   bash launch/soak.sh --full               # as docs/reliability.md reports, 25 minutes
#   bash launch/soak.sh --parts=kills,records --seed=7
if [[ ${1-} == --help || ${1-} == -h ]]; then sed -n '2,/^[^#]/{/^#/p}' "$0"; exit; fi
source "$(dirname "$0")/environment.sh"
make_environment test
if ! python -c 'import atheris' 2>/dev/null; then
  python -m pip install --quiet --disable-pip-version-check --only-binary=atheris --editable '.[fuzz]' ||
    echo "atheris does not install here: the part fuzz damages files by the seed alone, not guided by coverage" >&2
fi

python -m benchmarks.soak "$@"
