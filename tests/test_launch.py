"""How launch/slurm.sbatch reacts to the end of its run, with stand-ins for SLURM's commands; pods; comparisons; ablations."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ipmedgan_jax.configs import small, small_tuned

SCRIPT = Path(__file__).parents[1] / "launch" / "slurm.sbatch"


def job(tmp_path, srun, *, state="RUNNING", restart=0):
    """Starts the script; `srun` stands in for the run, and `tmp_path/asked` records the requests to SLURM."""
    stand_ins = {
        "srun": srun,
        "scontrol": f'[[ $1 = show ]] && echo "   JobState={state} Reason=None" || echo "scontrol $*" >> asked',
        "scancel": 'echo "scancel $*" >> asked; kill -TERM "$(<pid)"',
    }
    for name, body in stand_ins.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "VENV": "none",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": str(restart),
    }
    return subprocess.Popen(["bash", SCRIPT, "--config=x"], env=environment, stdout=subprocess.PIPE, text=True)


def ended(process, tmp_path):
    """Returns the exit code, the output and the requests to SLURM."""
    output, _ = process.communicate(timeout=60)
    asked = tmp_path / "asked"
    return process.returncode, output, asked.read_text().splitlines() if asked.exists() else []


REQUEUED = ["scontrol requeue 7"]


@pytest.mark.parametrize(
    ("srun", "state", "restart", "code", "asked"),
    [
        ("exit 0", "RUNNING", 0, 0, []),
        ("exit 75", "RUNNING", 0, 75, REQUEUED),
        ("exit 137", "RUNNING", 19, 137, REQUEUED),
        ("exit 137", "RUNNING", 20, 137, []),
        ("exit 137", "COMPLETING", 0, 137, []),
        ("exit 143", "RUNNING", 20, 143, REQUEUED),  # preempted: no restart counts against RESTARTS
        ("exit 143", "COMPLETING", 0, 143, []),  # cancelled
        ("exit 130", "RUNNING", 0, 130, REQUEUED),
        ("exit 130", "CANCELLED", 0, 130, []),
        ('echo "config wrong" > "$IPMEDGAN_FAILED_FILE"; exit 1', "RUNNING", 0, 1, []),
    ],
)
def test_a_job_is_requeued_only_if_that_can_help(tmp_path, srun, state, restart, code, asked):
    found = ended(job(tmp_path, srun, state=state, restart=restart), tmp_path)
    assert (found[0], found[2]) == (code, asked)


def test_an_error_that_a_restart_cannot_mend_is_printed_and_its_file_removed(tmp_path):
    _, output, _ = ended(job(tmp_path, 'echo "config wrong" > "$IPMEDGAN_FAILED_FILE"; exit 2'), tmp_path)
    assert "ended with an error that a restart cannot mend: config wrong" in output
    assert not list(tmp_path.glob(".failed*"))


def test_before_the_time_limit_the_run_saves_and_the_job_is_requeued(tmp_path):
    process = job(tmp_path, "trap 'touch saved; exit 143' TERM; echo $$ > pid; for ((;;)); do sleep 0.1; done")
    while not (tmp_path / "pid").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    code, _, asked = ended(process, tmp_path)
    assert code == 143
    assert asked == ["scancel --signal=TERM 7.0", *REQUEUED]
    assert (tmp_path / "saved").exists()


def test_the_run_is_started_with_the_job_s_arguments_and_a_file_for_its_last_words(tmp_path):
    ended(job(tmp_path, 'echo "$* $IPMEDGAN_FAILED_FILE" > started'), tmp_path)
    started = (tmp_path / "started").read_text().split()
    assert started[-3:-1] == ["ipmedgan_jax.main", "--config=x"]
    assert started[-1] == f"{tmp_path}/.failed-7-0"


def test_the_pods_of_a_job_know_how_many_they_are():
    folder = SCRIPT.parent / "kubernetes"
    job = yaml.safe_load((folder / "prepare.yaml").read_text())["spec"]
    (container,) = job["template"]["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert job["completions"] == job["parallelism"] == int(environment["JOB_COMPLETIONS"])
    (group,) = yaml.safe_load((folder / "run.yaml").read_text())["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert job["completions"] == job["parallelism"]
    assert f"--processes={job['completions']}" in container["args"]


@pytest.mark.parametrize(("given", "reference"), [("", []), ("--reference=b", ["--reference=b"])])
def test_runs_are_compared_with_the_reference_that_is_asked_for_or_compare_s_own(given, reference):
    """`--systems` may leave out ip-MedGAN, the reference of `compare` wherever it is there."""
    python = 'python() { [[ $1 == -c ]] || printf "%s\\n" "$@"; }'
    variables = "runs='r&d' output=o length=l config=c extra=(--config.seed=3 --config.train.keep=1)"
    script = f"source launch/runs.sh; {python}; {variables}; compare_runs {given} a b"
    done = subprocess.run(["bash", "-c", script], cwd=SCRIPT.parents[1], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    assert words[:5] == ["-m", "ipmedgan_jax.compare", "r&d/a", "r&d/b", "--output=o"]
    assert words[5:-1] == reference
    assert words[-1].startswith("--caption=Config c with --config.seed=3 --config.train.keep=1; ")


def sourced(call):
    """A script that sources runs.sh, as table1.sh does, and goes on with the call."""
    command = ["bash", "-c", f"source launch/runs.sh; {call}; echo goes on", "launch/table1.sh"]
    return subprocess.run(command, cwd=SCRIPT.parents[1], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("seeds", ["0", "-1", "3x", "three", "1.5"])
def test_seeds_that_are_no_number_end_a_script_before_it_trains(seeds):
    done = sourced(f"check_seeds {seeds}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("# Table I on prepared data")
    assert done.stderr.endswith(f"error: --seeds={seeds}: expected a whole number above 0\n")


def test_seeds_have_one_length():
    assert "--seeds with --minutes" in sourced("minutes=5; check_seeds 3").stderr
    assert sourced("images=5; check_seeds 3; check_seeds ''").stdout == "goes on\n"


def test_runs_of_another_system_are_not_taken_for_an_ablation_s(tmp_path):
    done = [sourced(f"runs={tmp_path}; trains {system}") for system in ("ipmedgan", "ipmedgan", "casnet_plus")]
    assert [process.returncode for process in done] == [0, 0, 2]
    assert "are of ipmedgan, not of casnet_plus; choose another --runs" in done[-1].stderr


def ablations(tmp_path, *options):
    """Runs ablations.sh with a stand-in for the environment's Python, which prints what it is asked to run."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    made = 'for word; do [[ $word == --workdir=* ]] && mkdir -p "${word#*=}"; done'
    asked = f'if [[ $* == *version_info* ]]; then exec {sys.executable} "$@"; fi'
    python.write_text(f'#!/usr/bin/env bash\n{asked}\n{made}\necho "$*"\n')
    python.chmod(0o755)
    root = SCRIPT.parents[1]
    command = [
        "bash",
        "launch/ablations.sh",
        "--config=small",
        f"--output={tmp_path / 'results'}",
        f"--runs={tmp_path / 'runs'}",
    ]
    environment = os.environ | {"VENV": os.path.relpath(tmp_path / "venv", root)}
    return subprocess.run([*command, *options], cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_some_changes_are_trained_with_each_seed_and_compared_with_the_first(tmp_path):
    done = ablations(tmp_path, "--only=half_rate as_published", "--seeds=2")
    words = [line.split() for line in done.stdout.splitlines()]
    runs = [f"{tmp_path}/runs/{name}-seed{seed}" for seed in (0, 1) for name in ("as_published", "half_rate")]
    assert [line[3] for line in words if line[1:2] == ["ipmedgan_jax.main"]] == [f"--workdir={run}" for run in runs]
    (compared,) = (line for line in words if line[1:2] == ["ipmedgan_jax.compare"])
    assert [word for word in compared if "/runs/" in word] == runs
    assert "--reference=as_published-seed0" in compared


def test_an_unknown_change_ends_the_ablations_before_they_train(tmp_path):
    done = ablations(tmp_path, "--only=tuned other")
    assert done.returncode == 2
    assert "error: --only=other: not a change of ipmedgan; there are as_published no_local_discriminator" in done.stderr
    assert "ipmedgan_jax.main" not in done.stdout


def test_the_change_tuned_is_the_config_small_tuned(tmp_path):
    """The ablations measure what the config offers."""
    (trained,) = (line for line in ablations(tmp_path, "--only=tuned").stdout.splitlines() if "ipmedgan_jax.main" in line)
    config = small.get_config().unlock()
    changed = re.findall(r"--config\.((?:loss|optimiser|train\.generator)\S+)=(\S+)", trained)
    config.update_from_flattened_dict({key: float(value) for key, value in changed})
    assert config.lock() == small_tuned.get_config()
