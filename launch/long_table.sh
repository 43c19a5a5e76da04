#!/usr/bin/env bash
# What longer training brings, in one command: six systems with three seeds on 9,600 slices, all systems with one seed on
# 48,000, each with its table, and the learning curves of all. If interrupted, run the same command again to continue.
#
#   bash launch/long_table.sh --config=configs/small.py --data=data/mri --output=results/mri_long
#
# Writes to OUTPUT: short/ and long/ (the tables and figures of table1.sh), and curves.md, curves.csv, curves.png.
#
# --reference=..  as of table1.sh
# --short=N  slices of the trainings with several seeds, by default 9600
# --long=N   slices of the long trainings, by default 48000
# --seeds=N  seeds of the short trainings, by default 3
# --runs=DIR folder of the runs (by default runs/ and the output's name)
# Further --config.KEY=VALUE flags apply to every system.
source "$(dirname "$0")/runs.sh"
for argument in "$@"; do
  case $argument in --images=* | --minutes=*) usage "$argument: not an option of this script; see --short and --long" ;; esac
done
begin "$@"

short=9600 long=48000 seeds=3 reference=()
for argument in ${own[@]+"${own[@]}"}; do
  case $argument in
    --short=*) short=${argument#*=} ;;
    --long=*) long=${argument#*=} ;;
    --reference=*) reference=("$argument") ;;
    --seeds=*) seeds=${argument#*=} ;;
    *) usage "$argument: not an option of this script" ;;
  esac
done
check_seeds "$seeds"

table() {  # NAME SLICES [OPTION ...]
  bash launch/table1.sh --config="$config" --data="$data" --images="$2" --output="$output/$1" --runs="$runs/$1" \
    "${@:3}" ${reference[@]+"${reference[@]}"} ${extra[@]+"${extra[@]}"}
}
table short "$short" --seeds="$seeds" --systems="context_encoder ipmedgan medgan glcic unet ipmedgan_plus"
table long "$long"

folders=()
for folder in "$runs"/short/*/ "$runs"/long/*/; do
  [[ -d $folder/checkpoints ]] && folders+=("$folder")  # classical fills learn nothing
done
python -m benchmarks.learning_curves "${folders[@]}" --output="$output" --at="$((short / 2)),$short,$((long / 2)),$long"
