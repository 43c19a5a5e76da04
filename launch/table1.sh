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
source "$(dirname "$0")/environment.sh"

config= data= output= images= minutes= runs= extra=()
systems="context_encoder glcic glcic_cited medgan ipmedgan unet ipmedgan_plus"
fills="surround_mean telea navier_stokes biharmonic rbf shift_map"
for argument in "$@"; do
  value=${argument#*=}
  case $argument in
    --config=*) config=$value ;;
    --data=*) data=$value ;;
    --output=*) output=$value ;;
    --images=*) images=$value ;;
    --minutes=*) minutes=$value ;;
    --systems=*) systems=$value ;;
    --fills=*) fills=$value ;;
    --runs=*) runs=$value ;;
    --config.*) extra+=("$argument") ;;
    *) sed -n '2,10p' "$0" >&2; echo "error: $argument is no option of this script" >&2; exit 2 ;;
  esac
done
if [[ -z $config || -z $output ]]; then sed -n '2,10p' "$0" >&2; echo "error: --config and --output are wanted" >&2; exit 2; fi
if [[ -n $images && -n $minutes ]]; then echo "error: --images or --minutes, not both" >&2; exit 2; fi
runs=${runs:-runs/$(basename "$output")}
make_environment ""

settings=("--config.data.dir=$data" ${extra[@]+"${extra[@]}"})
scored=("${settings[@]}")
asked="$config $data $images $minutes ${extra[*]-}"
mkdir -p "$runs"
if [[ -f $runs/asked && $(<"$runs/asked") != "$asked" ]]; then
  echo "error: the runs in $runs were begun with other arguments ($(<"$runs/asked")); choose another --runs" >&2
  exit 2
fi
echo "$asked" >"$runs/asked"
length="the config's own length of training"
if [[ -n $images ]]; then
  settings+=("--config.train.steps=0" "--config.train.images=$images")
  length="asked for: training on $images slices each"
elif [[ -n $minutes ]]; then
  settings+=("--config.train.minutes=$minutes")
  length="asked for: $minutes minutes of training each"
fi

compared=()
for system in $fills; do
  compared+=("$runs/$system")
  [[ -f $runs/$system/evaluation/metrics.json ]] && continue
  echo "== $system"
  python -m ipmedgan_jax.evaluate --config="$config" "${scored[@]}" --system="$system" --workdir="$runs/$system"
done
for system in $systems; do
  compared+=("$runs/$system")
  [[ -f $runs/$system/evaluation/metrics.json ]] && continue
  echo "== $system"
  if [[ ! -f $runs/$system/trained ]]; then
    python -m ipmedgan_jax.main --config="$config:$system" --workdir="$runs/$system" "${settings[@]}"
    touch "$runs/$system/trained"  # with --minutes the same command would train on
  fi
  if [[ ! -f $runs/$system/evaluation/metrics.json ]]; then
    python -m ipmedgan_jax.evaluate --workdir="$runs/$system"
  fi
done

machine="$(nproc) cores of $(python -c 'import jax; print(jax.local_devices()[0].device_kind)' 2>/dev/null || true)"
python -m ipmedgan_jax.compare "${compared[@]}" --output="$output" --caption="Config $config; $length; $(date +%Y-%m-%d), $machine."
