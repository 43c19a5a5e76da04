#!/usr/bin/env bash
# Table I on prepared data, in one command: trains every system, scores it and the classical fills on the same holes, and
# writes tables and figures. Stopped, the same command goes on where it was.
#
#   bash launch/table1.sh --config=configs/small.py --data=data/mri --images=6400 --output=results/mri
#
# --images=N    every system is trained on so many slices, each counted as often as it is seen (the default: the config's length)
# --minutes=M   or every system is trained for so long (anew where it was cut off; phases stay shares of the config's length)
# --systems=".." learned systems, --fills=".." classical ones; --runs=DIR keeps the runs (default: runs/ and the output's name)
# A further --config.KEY=VALUE goes to every system. Runs that were begun with other arguments are refused.
source "$(dirname "$0")/runs.sh"
begin "$@"

systems="context_encoder glcic glcic_cited medgan ipmedgan unet ipmedgan_plus"
fills="surround_mean telea navier_stokes biharmonic laplace rbf shift_map"
for argument in ${own[@]+"${own[@]}"}; do
  case $argument in
    --systems=*) systems=${argument#*=} ;;
    --fills=*) fills=${argument#*=} ;;
    *) usage "$argument is no option of this script" ;;
  esac
done

for fill in $fills; do
  [[ -f $runs/$fill/evaluation/metrics.json ]] && continue
  echo "== $fill"
  python -m ipmedgan_jax.evaluate --config="$config" "${scored[@]}" --system="$fill" --workdir="$runs/$fill"
done
for system in $systems; do
  train_and_score "$system" "$system"
done
compare_runs ipmedgan $fills $systems
