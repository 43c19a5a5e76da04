#!/usr/bin/env bash
# Trains on all GPUs of this machine, and resumes by itself if the process is killed or preempted.
#   bash launch/local.sh --config=configs/mri.py --config.data.dir=data/mri --workdir=runs/mri
# One process uses all local GPUs. EXTRAS=cuda13 selects the CUDA 13 build, EXTRAS= none. RESTARTS is the number of restarts
# (3). A run that ends with an error that a restart cannot mend (exit code 2 or 3) is not restarted.
source "$(dirname "$0")/environment.sh"
make_environment "${EXTRAS-cuda}"
left=${RESTARTS:-3}
while true; do
  code=0
  python -m ipmedgan_jax.main "$@" || code=$?
  case $code in
    0 | 2 | 3 | 130) exit "$code" ;;  # done; bad input; not finite; Ctrl-C
  esac
  if ((left-- == 0)); then
    echo "error: ended with exit code $code, and no restarts are left (RESTARTS); the same command resumes the run" >&2
    exit "$code"
  fi
  echo "ended with exit code $code; restarting" >&2
done
