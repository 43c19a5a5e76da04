#!/usr/bin/env bash
# Makes the environment and injects faults: kills, damaged checkpoints, records and models, hostile files, a long run. Each part
# prints how many faults were injected, noticed and silent; exit code 1 if any is silent. Arguments go to benchmarks/soak:
#   bash launch/soak.sh                      # a few of each, minutes
#   bash launch/soak.sh --full               # as docs/reliability.md reports, hours
source "$(dirname "$0")/environment.sh"
make_environment test

python -m benchmarks.soak "$@"
