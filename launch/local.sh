#!/usr/bin/env bash
# Trains on all GPUs of this machine, and resumes by itself where a process is killed or preempted.
#   bash launch/local.sh --config=configs/mri.py --config.data.dir=data/mri --workdir=runs/mri
# One process drives all local GPUs. EXTRAS=cuda13 for the CUDA 13 build, EXTRAS= for none; RESTARTS is how often it is started
# again (3). A run that ends with an error of its own making (exit code 2 or 3) is not started again.
source "$(dirname "$0")/environment.sh"
make_environment "${EXTRAS-cuda}"
left=${RESTARTS:-3}
while true; do
  code=0
  python -m ipmedgan_jax.main "$@" || code=$?
  case $code in
    0 | 2 | 3 | 130) exit "$code" ;;  # done; to be mended by a person; not finite; Ctrl-C
  esac
  if ((left-- == 0)); then
    echo "error: ended with exit code $code once more than RESTARTS allows; the same command resumes the run" >&2
    exit "$code"
  fi
  echo "ended with exit code $code; starting again" >&2
done
