#!/usr/bin/env bash
# Table I on prepared data in one command: trains every system, scores it and the classical fills on the same holes, and
# writes tables and figures. If interrupted, run the same command again to continue.
#
#   bash launch/table1.sh --config=configs/small.py --data=data/mri --images=6400 --output=results/mri
#
# --images=N      train every system on N slices, each counted as often as it is seen (by default the config's length)
# --minutes=M     or train every system for M minutes (again from 0 after an interruption; phases stay shares of the config's
#                 length)
# --systems=".."  learned systems
# --seeds=N       train every system N times, with the seeds 0 to N-1; by default once, with the config's seed
# --fills=".."    classical fills
# --reference=..  systems that paired differences are taken from, separated by commas; by default ipmedgan
# --runs=DIR      folder of the runs (by default runs/ and the output's name)
# Further --config.KEY=VALUE flags apply to every system. A folder of runs with other arguments is refused.
source "$(dirname "$0")/runs.sh"
begin "$@"

systems="context_encoder glcic glcic_cited medgan ipmedgan unet casnet_plus ipmedgan_plus"
fills="surround_mean telea navier_stokes biharmonic laplace rbf shift_map"
reference=()
for argument in ${own[@]+"${own[@]}"}; do
  case $argument in
    --systems=*) systems=${argument#*=} ;;
    --fills=*) fills=${argument#*=} ;;
    --reference=*) reference=("$argument") ;;
    --seeds=*) seeds=${argument#*=} ;;
    *) usage "$argument: not an option of this script" ;;
  esac
done
check_seeds "$seeds"

for fill in $fills; do
  [[ -f $runs/$fill/evaluation/metrics.json ]] && continue
  echo "== $fill"
  python -m ipmedgan_jax.evaluate --config="$config" "${scored[@]}" --system="$fill" --workdir="$runs/$fill"
done
train_all() { for system in $systems; do train "$system" "$system"; done; }
for_each_seed train_all
compare_runs ${reference[@]+"${reference[@]}"} $fills "${trained[@]}"
