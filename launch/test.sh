#!/usr/bin/env bash
# Makes the environment and runs all tests; arguments are passed to pytest: bash launch/test.sh -k losses
source "$(dirname "$0")/environment.sh"
make_environment test

python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
