"""The session on a GPU: its arguments, its step runner, and its kit; the measurements themselves need the machine."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import __main__ as session
from benchmarks.gpu import ceilings, correctness, kernels, kit, plan, steps, summary, training, updates
from benchmarks.gpu.context import NO_GPU, RESULTS_FILE, Context, read
from benchmarks.gpu.steps import Step, run_steps
from benchmarks.gpu.updates import Case
from ipmedgan_jax.data import dataset_file, records

ROOT = Path(__file__).parents[1]


def context_of(tmp_path, seconds=120.0):
    now = time.time()
    return Context("session", str(tmp_path), str(tmp_path), now, now + seconds, True)


def step(name, code, seconds=60.0, **others):
    return Step(name, "", seconds, command=[sys.executable, "-c", code], **others)


REPORT = """
import json, sys
from benchmarks.gpu.context import given
context, options = given()
context.report(event="figure", value=options.get("value", 1.0))
"""


def run(tmp_path, *given, seconds=120.0):
    succeeded = run_steps(given, context_of(tmp_path, seconds), dict(os.environ) | {"PYTHONPATH": str(ROOT)})
    return succeeded, read(tmp_path / RESULTS_FILE)


def test_a_failed_step_and_one_without_end_do_not_stop_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "GRACE_S", 0.2)
    fails = Step("fails", "", 60.0, command=["bash", "-c", "exit 7"])
    hangs = Step("hangs", "", 0.5, command=["bash", "-c", "trap '' TERM; while true; do sleep 0.1; done"])
    succeeded, lines = run(tmp_path, fails, hangs, step("last", REPORT))
    ends = {line["step"]: line for line in lines if line["event"] == "end"}
    assert not succeeded
    assert (ends["fails"]["exit_code"], ends["hangs"]["exit_code"], ends["last"]["exit_code"]) == (7, -signal.SIGKILL, 0)
    assert [ends[name]["timed_out"] for name in ("fails", "hangs", "last")] == [False, True, False]
    assert any(line["step"] == "last" and line["event"] == "figure" for line in lines)


def test_what_a_step_reported_before_it_was_ended_stays(tmp_path):
    _, lines = run(tmp_path, step("cut", REPORT + "import time; time.sleep(60)", 5.0, options={"value": 2 / 3}))
    assert {"step": "cut", "event": "figure", "value": 0.66667}.items() <= lines[0].items()
    assert lines[1]["timed_out"]


def test_a_step_for_which_no_time_is_left_is_skipped_and_said(tmp_path):
    succeeded, lines = run(tmp_path, step("late", REPORT, 60.0, least=30.0), seconds=2.0)
    assert not succeeded
    assert [line["event"] for line in lines] == ["skipped"]


def test_a_second_session_on_the_machine_knows_the_first_one_s_figures(tmp_path):
    now, folders = time.time(), [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first, second = (Context("machine", str(folder), str(tmp_path), now, now + 60, True) for folder in folders)
    first.report(event="ceiling", what=ceilings.COPY, per_second=2.0)
    assert ceilings.found(second) == {ceilings.COPY: 2.0}
    assert read(folders[1] / RESULTS_FILE) == []


def test_a_background_step_runs_beside_the_next_and_is_ended_with_it(tmp_path):
    works = "import time; time.sleep(1)"
    forever = step("beside", REPORT + "import time; time.sleep(60)", background=True)
    succeeded, lines = run(tmp_path, forever, step("works", works), step("last", REPORT))
    assert succeeded
    ends = {line["step"]: line for line in lines if line["event"] == "end"}
    assert list(ends) == ["works", "beside", "last"]
    assert [ends[name]["timed_out"] for name in ends] == [False, True, False]
    assert lines[0]["step"] == "beside"  # it reported before the end of the step that it ran beside


def test_a_background_step_that_fails_is_said(tmp_path):
    succeeded, lines = run(
        tmp_path, step("beside", "raise SystemExit(4)", background=True), step("last", "import time; time.sleep(1)")
    )
    assert not succeeded
    assert [(line["step"], line["exit_code"]) for line in lines] == [("last", 0), ("beside", 4)]


def test_a_step_s_own_environment_reaches_it(tmp_path):
    code = "import os, sys; sys.exit(int(os.environ['CODE']))"
    _, lines = run(tmp_path, step("own", code, environment={"CODE": "5"}))
    assert lines[0]["exit_code"] == 5


def test_without_a_gpu_no_further_step_is_run(tmp_path):
    _, lines = run(tmp_path, step("machine", f"raise SystemExit({NO_GPU})"), step("next", REPORT))
    assert [line["step"] for line in lines] == ["machine"]


def test_a_killed_session_takes_its_step_along(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from benchmarks.gpu.context import Context
from benchmarks.gpu.steps import Step, run_steps
from benchmarks.gpu.updates import Case
now, folder = time.time(), {str(tmp_path)!r}
sleeper = "import os, time; open({str(tmp_path / "pid")!r}, 'w').write(str(os.getpid())); time.sleep(60)"
context = Context("", folder, folder, now, now + 60, True)
run_steps([Step("sleeps", "", 50.0, command=[sys.executable, "-c", sleeper])], context, {{}})
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.02)
    process.kill()
    process.wait()
    deadline = time.time() + 20
    state = Path(f"/proc/{pid.read_text()}/stat")
    while state.exists() and state.read_text().split()[2] != "Z":  # Z: ended, and nobody has asked how
        assert time.time() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--output"),
        (["--output=x", "--minutes=0"], "--minutes=0: expected"),
        (["--output=x", "--steps=updates,nothing"], "nothing is none of"),
    ],
)
def test_wrong_arguments_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        session.parse(arguments)
    assert said in capsys.readouterr().err


def test_a_missing_kit_is_said_in_one_line(tmp_path):
    folders = [f"--output={tmp_path / 'out'}", f"--kit={tmp_path}", f"--scratch={tmp_path}"]
    command = ["bash", ROOT / "launch" / "gpu.sh", *folders]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable}, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: no kit; make it with launch/gpu_kit.sh")
    assert len(done.stderr.splitlines()) == 1


def test_the_limits_fit_into_the_minutes_and_leave_time_for_training():
    for minutes, rehearsal in ((plan.FULL_MINUTES, False), (9.5, False), (plan.REHEARSAL_MINUTES, True)):
        planned = plan.steps(minutes, rehearsal, Path("kit"))
        assert sum(item.seconds for item in planned if not item.background) < 0.8 * 60 * minutes
    assert [item.name for item in planned if item.background] == ["peer_compile"]
    chosen = plan.steps(3, False, Path("kit"), chosen=["updates"])
    assert [item.name for item in chosen] == ["machine", "unpack", "updates"]
    assert chosen[-1].seconds == 105


def test_the_kit_holds_what_the_machine_lacks(tmp_path):
    required = ["jax>=0.10,<0.13", "grain>=0.2.12", "opencv-contrib-python-headless>=4.10", "ml-collections"]
    (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = {json.dumps(required)}")
    (tmp_path / "machine.txt").write_text("# there\njax\nopencv_python-headless\n")
    assert kit.requirements(tmp_path / "pyproject.toml", tmp_path / "machine.txt") == ["grain>=0.2.12", "ml-collections"]


def test_packed_weights_come_out_bit_equal(tmp_path):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal(200).astype(np.float32)[rng.integers(0, 200, (3, 3, 4, 5))]
    np.savez(tmp_path / "in.npz", **{"conv1_1/kernel": kernel, "conv1_1/bias": kernel[0, 0, 0]}, format="a")
    kit.pack_weights(tmp_path / "in.npz", tmp_path / "packed.npz")
    kit.unpack_weights(tmp_path / "packed.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["conv1_1/kernel"], kernel)
        assert str(found["format"]) == "a"
    np.savez(tmp_path / "in.npz", **{"conv1_1/kernel": rng.standard_normal((3, 3, 8, 9))})
    with pytest.raises(kit.KitError, match="648 values"):
        kit.pack_weights(tmp_path / "in.npz", tmp_path / "packed.npz")


def prepared(folder):
    rng = np.random.default_rng(0)
    volumes, codes = {}, {}
    for split in records.SPLITS:
        name = f"sub-{split}"
        codes[name] = [rng.integers(0, 256, (8, 8)).astype(np.uint16) for _ in range(3)]
        (folder / split).mkdir(parents=True)
        slices = [records.SliceRecord(name, name, i, (0.0, 200.0), 1.0, 0.0, codes[name][i]) for i in range(3)]
        records.write_shard(folder / split / f"{name}.arrayrecord", slices)
        spacing = (1.0, 1.0, 1.0)
        volumes[name] = dataset_file.PreparedVolume(name, split, "x", "ab", "RAS", spacing, spacing, (0.0, 200.0), 3, 0)
    dataset_file.save_dataset(dataset_file.Dataset(folder, "mri", 8, volumes, {"modality": "mri", "image_size": 8}, "0"))
    return codes


def test_packed_data_keep_the_test_slices_and_round_the_others(tmp_path):
    codes = prepared(tmp_path / "in")
    kit.pack_data(tmp_path / "in", tmp_path / "data.zip", 3)
    assert kit.unpack_data(tmp_path / "data.zip", tmp_path / "out") == 9
    found = {
        split: list(records.read_shard(tmp_path / "out" / split / f"sub-{split}.arrayrecord")) for split in records.SPLITS
    }
    for split, slices in found.items():
        worst = max(np.abs(item.codes.astype(int) - codes[item.volume][item.index]).max() for item in slices)
        assert worst == (0 if split == "test" else 1)
    fingerprints = {dataset_file.load_dataset(tmp_path / name).fingerprint for name in ("in", "out")}
    assert len(fingerprints) == 2  # its scores must not pass for those of the source's data


def test_only_packages_that_are_missing_are_unpacked(tmp_path):
    (tmp_path / "kit" / "wheels").mkdir(parents=True)
    for name in ("numpy-1.0-py3-none-any.whl", "not_there_at_all-1.0-py3-none-any.whl"):
        with zipfile.ZipFile(tmp_path / "kit" / "wheels" / name, "w") as file:
            file.writestr(f"{name.partition('-')[0]}/__init__.py", "")
    assert [path.name for path in kit.unpack_wheels(tmp_path / "kit", tmp_path).iterdir()] == ["not_there_at_all"]


def test_the_summary_has_every_kind_of_line_and_says_what_failed():
    lines = [
        {"step": "updates", "event": "update", "dtype": "bfloat16", "batch": 16, "seconds_per_update": 0.0123456},
        {"step": "peer", "event": "failed", "reason": "out of memory"},
    ]
    assert "| updates | bfloat16 | 16 |  |  | 0.01235 |" in summary.tables(lines)
    assert summary.closing_lines(json.loads(json.dumps(lines))).splitlines()[1] == "peer: event failed, reason out of memory"


def test_the_main_figures_compare_the_best_of_each_batch_size():
    ours = {"event": "update", "step": "updates", "dtype": "bfloat16", "per_dispatch": 1, "share_of_peak": 0.615}
    peer = {"event": "peer", "step": "peer", "dtype": "bf16", "mode": "compile", "batch": 16}
    lines = [
        ours | {"batch": 16, "form": "matmul", "images_per_second": 500.0},
        ours | {"batch": 16, "form": "lax", "images_per_second": 1000.0},
        peer | {"images_per_second": 400.0},
        peer | {"mode": "eager", "images_per_second": 300.0},
        {"event": "generator", "step": "inference", "dtype": "bfloat16", "batch": 8, "ms_a_slice": 0.75},
    ]
    batch, generator = summary.bars(lines)
    assert batch == (
        "batch 16: 1 ms an image (bfloat16, lax, 1 a dispatch), 0.40 of PyTorch's time (bf16, compile), "
        "62% of the measured bf16 peak, 200 epochs of 3028 slices in 10.1 minutes"
    )
    assert generator == "generator: 0.75 ms a slice (bfloat16, batch 8)"
    assert summary.bars([]) == []


def test_a_log_that_is_too_large_keeps_its_first_and_last_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "LOG_BYTES", 40)
    (tmp_path / "log").write_text("".join(f"line {i:03}\n" for i in range(100)))
    session.shorten(tmp_path / "log")
    assert (tmp_path / "log").read_text() == "line 000\nline 001\nli\n\n[...]\n\n7\nline 098\nline 099\n"
    (tmp_path / "short").write_text("all")
    session.shorten(tmp_path / "short")
    assert (tmp_path / "short").read_text() == "all"


@pytest.mark.parametrize(
    ("left", "compiling", "a_case", "cases"),
    [(500, 10, 5, 4), (500, 25, 15, 2), (500, 200, 210, 1), (50, 10, 20, 2), (50, 10, 50, 0), (50, 45, 12, 0)],
)
def test_cases_are_compiled_together_where_they_compile_fast_and_time_is_left(left, compiling, a_case, cases):
    assert updates.wave_size(left, compiling, a_case) == cases


def test_both_forms_of_the_strided_layers_can_be_forced():
    import jax
    import jax.numpy as jnp

    from benchmarks.gpu.sizes import FORMS, strided_form
    from ipmedgan_jax.networks import strided

    fine, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((4, 4, 4, 6))
    texts = {}
    for form in FORMS:
        with strided_form(form):
            texts[form] = jax.jit(lambda x, k: strided.downsample(x, k)).lower(fine, kernel).as_text()
    assert "stablehlo.convolution" in texts["lax"]
    assert "stablehlo.convolution" not in texts["matmul"]


def test_requirements_that_the_machine_does_not_meet_are_named(tmp_path):
    required = ["numpy>=2.0,<3", "jax>=99", "not-there-at-all"]
    (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = {json.dumps(required)}")
    unmet = ceilings.unmet_requirements(tmp_path / "pyproject.toml")
    assert [text.partition(":")[0] for text in unmet] == ["jax>=99", "not-there-at-all"]


def test_a_job_is_compared_with_its_system_s_reference_and_its_failure_is_said(tmp_path):
    reference, good, bad = Future(), Future(), Future()
    reference.set_result({"fill": np.ones(2)})
    good.set_result({"fill": np.full(2, 1.00001)})
    bad.set_exception(RuntimeError("out of memory\nand more"))
    for job, mode in ((good, "float32"), (bad, "bfloat16")):
        correctness.compare(context_of(tmp_path), job, "unet", mode, {"unet": reference})
    error, failed = read(tmp_path / RESULTS_FILE)
    assert (error["event"], error["mode"], error["within"]) == ("error", "float32", True)
    assert (failed["event"], failed["reason"]) == ("failed", "RuntimeError: out of memory")


def test_errors_of_gradients_and_values_have_limits_of_their_own(tmp_path):
    gradient = "loss style, gradient"
    expected = {"loss style": np.ones(3), gradient: {"kernel": np.full(4, 2.0)}, "train_step": {"a": 1.0, "b": 1e3}}
    found = {"loss style": np.full(3, 1.01), gradient: {"kernel": np.full(4, 2.01)}, "train_step": {"a": 1.5, "b": 1e3}}
    errors = correctness.errors(found, expected)
    assert errors == pytest.approx({"loss style": 0.01, gradient: 0.005, "train_step": 0.5})
    correctness.report(context_of(tmp_path), "unet", "tf32", errors)
    (line,) = read(tmp_path / RESULTS_FILE)
    assert (line["within"], line["of"], line["limit"]) == (False, "train_step", 0.02)
    assert correctness.errors({"fill": np.array([np.nan])}, {"fill": np.ones(1)}) == {"fill": np.inf}


XSPACE = """
planes {
  name: "/device:GPU:0"
  event_metadata { key: 1 value { id: 1 name: "wgmma_kernel" } }
  event_metadata { key: 2 value { id: 2 name: "fusion.1" } }
  lines {
    name: "Stream #13(Compute)"
    events { metadata_id: 1 duration_ps: 3000000 }
    events { metadata_id: 1 duration_ps: 1000000 }
  }
  lines { name: "XLA Ops" events { metadata_id: 2 duration_ps: 9000000 } }
}
planes { name: "/host:CPU" lines { name: "tf_XLAEigen/1" events { metadata_id: 1 duration_ps: 7000000 } } }
"""


def test_kernels_are_counted_once_from_the_gpu_s_streams(tmp_path):
    import jax

    content = jax.profiler.ProfileData.text_proto_to_serialized_xspace(XSPACE)
    (tmp_path / "a.xplane.pb").write_bytes(content)
    assert kernels.kernel_times(tmp_path / "a.xplane.pb") == {"wgmma_kernel": (pytest.approx(4e-6), 2)}
    kernels.report(context_of(tmp_path), Case("bfloat16", 16, "lax", 1), tmp_path, 1e-5)
    assert "100.0%    0.4  wgmma_kernel" in (tmp_path / kernels.KERNELS_FILE).read_text()


def test_training_takes_the_smallest_batch_that_is_nearly_the_fastest(tmp_path):
    context = Context("ipmedgan", str(tmp_path), str(tmp_path), 0.0, 0.0, False)
    assert training.fastest(context) == (16, training.GUESSED_RATE)
    rates = ((1, "lax", 90.0), (16, "lax", 700.0), (16, "lax", 730.0), (64, "lax", 800.0), (64, "matmul", 990.0))
    for batch, form, rate in rates:
        context.report(event="update", dtype="bfloat16", batch=batch, form=form, images_per_second=rate)
    assert training.fastest(context) == (16, 730.0)


def test_a_compiled_update_gives_its_figures(tmp_path, monkeypatch):
    import jax
    import jax.numpy as jnp

    from ipmedgan_jax.systems.interface import Batch

    monkeypatch.setattr(updates, "TIMED_S", 0.01)
    context = context_of(tmp_path)
    context.report(event="ceiling", what="matrix product bfloat16", per_second=1e9)
    batch = Batch(jnp.ones((1, 8, 2, 4, 4, 1)), jnp.ones((1, 8, 2, 4), jnp.int32))
    states = {"state": jnp.zeros(3), "frozen": jnp.ones(3), "operations": 5e5}

    def step(state, frozen, batch):
        return state + frozen * batch.image.mean(), {"loss": jnp.ones(8)}

    program = jax.jit(step).lower(states["state"], states["frozen"], batch).compile()
    context.report(event="ceiling", what=ceilings.COPY, per_second=1e9)
    found = updates.measure(context, updates.Compiled(Case("bfloat16", 16, "lax", 8), program, batch, 2.0, 2e6), states)
    assert found["images_per_second"] == pytest.approx(2 / min(found["seconds_per_update"], found["seconds_pipelined"]))
    assert found["share_of_peak"] == pytest.approx(1e-3 / min(found["seconds_per_update"], found["seconds_pipelined"]))
    assert found["share_of_bandwidth"] == pytest.approx(2 * found["share_of_peak"])
    assert (found["operations"], found["finite"], found["undisturbed"]) == (1e6, True, True)
    assert states["state"][0] >= 8  # it goes to the next case
