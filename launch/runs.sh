# Sourced by table1.sh, ablations.sh and long_table.sh: their common arguments, and functions to train, score and compare runs.
script=$(realpath "$0")
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

config= data= output= images= minutes= seeds= seed= runs= extra=() own=() trained=()

usage() { sed -n '2,/^[^#]/{/^#/p}' "$script" >&2; echo "error: $1" >&2; exit 2; }

# Sets the variables above; other arguments go to `own`. Makes the environment, and records the arguments, but for `own`, in the
# folder of the runs, so that runs with other arguments are refused.
begin() {
  local argument
  for argument in "$@"; do
    case $argument in
      --help | -h) sed -n '2,/^[^#]/{/^#/p}' "$script"; exit ;;
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
  if [[ -z $config || -z $output ]]; then usage "expected --config and --output"; fi
  if [[ -n $images && -n $minutes ]]; then usage "expected --images or --minutes, not both"; fi
  runs=${runs:-runs/$(basename "$output")}
  runs=${runs/#\~\//$HOME/}  # as the commands themselves read it
  make_environment ""
  mkdir -p "$runs"
  keep_to asked "$config $data $images $minutes ${extra[*]-}" "have other arguments (%s)"

  scored=("--config.data.dir=$data" ${extra[@]+"${extra[@]}"})
  settings=("${scored[@]}")
  length="the config's own length of training"
  if [[ -n $images ]]; then
    settings+=("--config.train.steps=0" "--config.train.images=$images")
    length="requested training: $images slices each"
  elif [[ -n $minutes ]]; then
    settings+=("--config.train.minutes=$minutes")
    length="requested training: $minutes minutes each"
  fi
}

# train_and_score NAME SYSTEM [--config.KEY=VALUE ...]: trains and scores the run NAME, unless that is done already.
train_and_score() {
  local name=$1 system=$2
  shift 2
  [[ -f $runs/$name/evaluation/metrics.json ]] && return
  echo "== $name"
  if [[ ! -f $runs/$name/trained ]]; then
    python -m ipmedgan_jax.main --config="$config:$system" --workdir="$runs/$name" "${settings[@]}" "$@"
    touch "$runs/$name/trained"  # with --minutes the same command would train further
  fi
  if [[ ! -f $runs/$name/evaluation/metrics.json ]]; then
    python -m ipmedgan_jax.evaluate --workdir="$runs/$name"
  fi
}

# keep_to FILE VALUE TEXT: records in a file of the runs' folder what they are made with. Ends the script if the file has another
# value; TEXT says so, with %s for that value.
keep_to() {
  if [[ -f $runs/$1 && $(<"$runs/$1") != "$2" ]]; then
    printf "error: the runs in %s $3; choose another --runs\n" "$runs" "$(<"$runs/$1")" >&2
    exit 2
  fi
  echo "$2" >"$runs/$1"
}

# trains SYSTEM: all runs in the folder are of this system.
trains() { keep_to system "$1" "are of %s, not of $1"; }

# train NAME SYSTEM [--config.KEY=VALUE ...]: as train_and_score, with the seed, if one is set; adds the run's name to `trained`.
train() {
  local name=$1${seed:+-seed$seed}
  trained+=("$name")
  train_and_score "$name" "$2" ${seed:+"--config.seed=$seed"} "${@:3}"
}

# for_each_seed FUNCTION: calls it once, or with `seed` set to each of 0 to `seeds` - 1.
for_each_seed() {
  if [[ -z $seeds ]]; then
    "$1"
  else
    for ((seed = 0; seed < seeds; seed++)); do "$1"; done
  fi
}

# check_seeds SEEDS: ends the script unless it is empty or a number of seeds.
check_seeds() {
  if [[ -n $1 && ! $1 =~ ^[1-9][0-9]*$ ]]; then usage "--seeds=$1: expected a whole number above 0"; fi
  if [[ -n $1 && -n $minutes ]]; then usage "--seeds with --minutes: trainings of other lengths are no seeds of each other"; fi
}

# compare_runs [--reference=NAME] NAME ...: makes tables and figures of the runs, in this order, with differences from the
# reference; by default from ip-MedGAN, or from the first run where it is not among them.
compare_runs() {
  local machine name reference=() folders=()
  if [[ $1 == --reference=* ]]; then reference=("$1"); shift; fi
  for name in "$@"; do folders+=("$runs/$name"); done
  machine="$(nproc) cores of $(python -c 'import jax; print(jax.local_devices()[0].device_kind)' 2>/dev/null || true)"
  python -m ipmedgan_jax.compare "${folders[@]}" --output="$output" ${reference[@]+"${reference[@]}"} \
    --caption="Config $config${extra[*]+ with ${extra[*]}}; $length; $(date +%Y-%m-%d), $machine."
}
