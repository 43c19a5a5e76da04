#!/usr/bin/env bash
# Makes the environment and runs all tests; arguments are passed to pytest: bash launch/test.sh -k losses
if [[ ${1-} == --help || ${1-} == -h ]]; then sed -n '2,/^[^#]/{/^#/p}' "$0"; exit; fi
source "$(dirname "$0")/environment.sh"
make_environment test

python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
