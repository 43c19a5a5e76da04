#!/usr/bin/env bash
# What longer training brings, in one command: five systems with three seeds on 9,600 slices, all systems with one seed on
# 48,000, each with its table, and the learning curves of all. If interrupted, run the same command again to continue.
#
#   bash launch/long_table.sh --config=configs/small.py --data=data/mri --output=results/mri_long
#
# Writes to OUTPUT: short/ and long/ (the tables and figures of table1.sh), and curves.md, curves.csv, curves.png.
#
# --short=N  slices of the trainings with several seeds, by default 9600
# --long=N   slices of the long trainings, by default 48000
# --seeds=N  seeds of the short trainings, by default 3
# --runs=DIR folder of the runs (by default runs/ and the output's name)
# Further --config.KEY=VALUE flags apply to every system.
set -euo pipefail

config= data= output= runs= short=9600 long=48000 seeds=3 extra=()
usage() { sed -n '2,/^[^#]/{/^#/p}' "$0" >&2; echo "error: $1" >&2; exit 2; }
for argument in "$@"; do
  case $argument in
    --help | -h) sed -n '2,/^[^#]/{/^#/p}' "$0"; exit ;;
    --config=*) config=${argument#*=} ;;
    --data=*) data=${argument#*=} ;;
    --output=*) output=${argument#*=} ;;
    --runs=*) runs=${argument#*=} ;;
    --short=*) short=${argument#*=} ;;
    --long=*) long=${argument#*=} ;;
    --seeds=*) seeds=${argument#*=} ;;
    --config.*) extra+=("$argument") ;;
    *) usage "$argument: not an option of this script" ;;
  esac
done
[[ -n $config && -n $output ]] || usage "expected --config and --output"
runs=${runs:-runs/$(basename "$output")}
launch=$(dirname "$0")

table() {  # NAME SLICES [OPTION ...]
  bash "$launch/table1.sh" --config="$config" --data="$data" --images="$2" --output="$output/$1" --runs="$runs/$1" \
    "${@:3}" ${extra[@]+"${extra[@]}"}
}
table short "$short" --seeds="$seeds" --systems="ipmedgan medgan glcic unet ipmedgan_plus"
table long "$long"

source "$launch/environment.sh"
make_environment ""
folders=()
for folder in "$runs"/short/*/ "$runs"/long/*/; do
  [[ -d $folder/checkpoints ]] && folders+=("$folder")  # classical fills learn nothing
done
python -m benchmarks.learning_curves "${folders[@]}" --output="$output" --at="$((short / 2)),$short,$((long / 2)),$long"
