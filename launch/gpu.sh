#!/usr/bin/env bash
# All GPU benchmarks in one command: compares the update with the CPU, times it, times the generator and writes profiles.
#   bash launch/gpu.sh OUT [PEER.py]
# Writes figures to OUT/*.json, one line of JSON each, and TensorBoard profiles to OUT/trace_*. PEER.py is a PyTorch script for
# benchmarks/against_pytorch.py. The environment must have the extra cuda or cuda13, and bench for PEER.py.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: bash launch/gpu.sh OUT [PEER.py]} peer=${2:-}
python=${PYTHON:-python}
mkdir -p "$out"
status=0

measure() {  # measure NAME MODULE FLAGS...: writes the JSON line to OUT/NAME.json and the log to OUT/NAME.log
  local name=$1
  shift
  echo "$name"
  "$python" -m "$@" >"$out/$name.json" 2>"$out/$name.log" || { echo "$name failed; see $out/$name.log"; status=1; }
}

for dtype in float32 bfloat16; do
  measure "check_$dtype" benchmarks.check --config=configs/small.py --config.train.dtype=$dtype
done
for batch in 1 16 64; do
  measure "step_bfloat16_$batch" benchmarks.step --config=configs/ct.py --config.train.dtype=bfloat16 --config.train.batch_size=$batch \
    --trace="$out/trace_$batch"
done
measure step_float32_1 benchmarks.step --config=configs/ct.py
measure step_stacked_1 benchmarks.step --config=configs/ct.py --config.train.dtype=bfloat16 --config.generator.stacked=True
measure inference_bfloat16 benchmarks.inference --config=configs/ct.py --config.train.dtype=bfloat16 --batch_sizes=1,8,32
if [[ -n $peer ]]; then
  for batch in 1 16 64; do
    measure "against_pytorch_$batch" benchmarks.against_pytorch --config=configs/ct.py --config.train.dtype=bfloat16 \
      --config.train.batch_size=$batch --peer="$peer" \
      --peer_flags='--device cuda --dtype bf16,--device cuda --dtype bf16 --channels-last,--device cuda --dtype bf16 --channels-last --compile'
  done
fi
exit $status
