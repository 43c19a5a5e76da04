# Sourced by table1.sh and ablations.sh: their common arguments, and a run that is trained and scored once.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

config= data= output= images= minutes= runs= extra=() own=()

usage() { sed -n '2,/^[^#]/{/^#/p}' "$0" >&2; echo "error: $1" >&2; exit 2; }

# Sets the variables above; what is none of theirs goes to `own`. Makes the environment, and claims the folder of the runs.
begin() {
  local argument asked
  for argument in "$@"; do
    case $argument in
      --config=*) config=${argument#*=} ;;
      --data=*) data=${argument#*=} ;;
      --output=*) output=${argument#*=} ;;
      --images=*) images=${argument#*=} ;;
      --minutes=*) minutes=${argument#*=} ;;
      --runs=*) runs=${argument#*=} ;;
      --config.*) extra+=("$argument") ;;
      *) own+=("$argument") ;;
    esac
  done
  if [[ -z $config || -z $output ]]; then usage "--config and --output are wanted"; fi
  if [[ -n $images && -n $minutes ]]; then usage "--images or --minutes, not both"; fi
  runs=${runs:-runs/$(basename "$output")}
  make_environment ""
  asked="$config $data $images $minutes ${extra[*]-}"
  mkdir -p "$runs"
  if [[ -f $runs/asked && $(<"$runs/asked") != "$asked" ]]; then
    echo "error: the runs in $runs were begun with other arguments ($(<"$runs/asked")); choose another --runs" >&2
    exit 2
  fi
  echo "$asked" >"$runs/asked"

  scored=("--config.data.dir=$data" ${extra[@]+"${extra[@]}"})
  settings=("${scored[@]}")
  length="the config's own length of training"
  if [[ -n $images ]]; then
    settings+=("--config.train.steps=0" "--config.train.images=$images")
    length="asked for: training on $images slices each"
  elif [[ -n $minutes ]]; then
    settings+=("--config.train.minutes=$minutes")
    length="asked for: $minutes minutes of training each"
  fi
}

# train_and_score NAME SYSTEM [--config.KEY=VALUE ...]: the run NAME, unless it is there already.
train_and_score() {
  local name=$1 system=$2
  shift 2
  [[ -f $runs/$name/evaluation/metrics.json ]] && return
  echo "== $name"
  if [[ ! -f $runs/$name/trained ]]; then
    python -m ipmedgan_jax.main --config="$config:$system" --workdir="$runs/$name" "${settings[@]}" "$@"
    touch "$runs/$name/trained"  # with --minutes the same command would train on
  fi
  if [[ ! -f $runs/$name/evaluation/metrics.json ]]; then
    python -m ipmedgan_jax.evaluate --workdir="$runs/$name"
  fi
}

# compare_runs REFERENCE NAME ...: tables and figures of the runs, in this order, and their differences from one.
compare_runs() {
  local machine reference=$1
  shift
  machine="$(nproc) cores of $(python -c 'import jax; print(jax.local_devices()[0].device_kind)' 2>/dev/null || true)"
  python -m ipmedgan_jax.compare "${@/#/$runs/}" --output="$output" --reference="$reference" \
    --caption="Config $config; $length; $(date +%Y-%m-%d), $machine."
}
