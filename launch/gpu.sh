#!/usr/bin/env bash
# Checks, times and trains on a machine with one CUDA GPU and no network, within a number of minutes.
#
#   bash launch/gpu_kit.sh --data='DIR/**/*_FLAIR.nii.gz' --peer=SCRIPT.py    # beforehand, with a network
#   bash launch/gpu.sh --output=OUT --minutes=12                                             # there
#
# --output=DIR   gets results.jsonl (a line a figure, written at once), session.log, summary.md, kernels.txt, pictures of the
#                trained systems' fills, and their generators where these fit
# --minutes=12   for everything          --kit=DIR      the folder of gpu_kit.sh (gpu_kit)
# --steps=A,B    only these steps        --scratch=DIR  for what is unpacked, compiled and trained (/tmp/ipmedgan_gpu)
# --rehearsal    small networks on the CPU; without it the command ends with exit code 3 where there is no GPU
#
# Steps: machine unpack peer_compile correctness updates peer updates_more inference kernels ipmedgan ipmedgan_plus. Each has
# its own process and its own time; a failed one never stops the next. With the same scratch folder a second session knows the
# first one's figures and compiled programs. PYTHON is an interpreter with JAX and PyTorch (python3); what it lacks comes from the kit.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
