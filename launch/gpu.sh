#!/usr/bin/env bash
# Checks and times this package on a machine with one CUDA GPU and no network, within a number of minutes; see --help.
#   bash launch/gpu.sh --output=OUT --minutes=12
# PYTHON is an interpreter with JAX and PyTorch; what it lacks comes from the folder of launch/gpu_kit.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
