"""The step `peer`: the PyTorch script of the kit, in several types, batch sizes and modes, in one process.

The step `peer_compile` runs the compiled modes beforehand, beside a step that times nothing. PyTorch keeps what it compiled
in its cache, so the GPU does not wait for minutes.
"""

import contextlib
import gc
import importlib.util
import io
import json
import sys
import time
from types import ModuleType

from benchmarks.gpu.context import Context, given
from benchmarks.gpu.updates import SMALL_BATCHES, first_line


def main() -> None:
    context, options = given()
    start = time.time()
    spec = importlib.util.spec_from_file_location("peer", options["script"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peer"] = module
    spec.loader.exec_module(module)
    context.report(event="imported", seconds=time.time() - start)
    timed = options["timed"]
    longest = {"eager": 3.0, "compile": 8.0}
    for text in options["cases"]:
        dtype, batch, mode = text.split(":")
        fields = {"dtype": dtype, "batch": int(batch), "mode": mode}
        if timed and context.left() < 1.3 * longest[mode]:
            context.report(event="skipped", **fields, reason=f"{context.left():.0f} s left")
            continue
        start = time.time()
        try:
            found = run(module, context, dtype, int(batch), mode, steps=15 if timed else 1)
        except (Exception, SystemExit) as error:
            context.report(event="failed", **fields, reason=first_line(error))  # type: ignore[arg-type]
            continue
        finally:
            longest[mode] = max(longest[mode], time.time() - start)
            _free()
        if not timed:
            context.report(event="compiled for the peer", **fields, seconds=time.time() - start)
            continue
        best = min(found["seconds_per_step"], found["seconds_per_step_pipelined"] or found["seconds_per_step"])
        context.report(
            event="peer",
            **fields,
            seconds_per_update=found["seconds_per_step"],
            seconds_pipelined=found["seconds_per_step_pipelined"],
            images_per_second=found["batch"] / best,
            peak_memory_gib=found["peak_memory_gib"],
            start_seconds=time.time() - start,
        )


def run(module: ModuleType, context: Context, dtype: str, batch: int, mode: str, *, steps: int) -> dict:
    """Calls the script's `main` with these settings; returns the JSON object that it prints."""
    arguments = ["peer.py", "--dtype", dtype, "--channels-last"]
    if context.rehearsal:
        batch, steps = SMALL_BATCHES.get(batch, batch), min(steps, 2)
        arguments += ["--size", "64", "--blocks", "1", "--width", "8", "--d-width", "8", "--no-style"]
    else:
        arguments += ["--device", "cuda"]
    arguments += ["--batch", str(batch), "--steps", str(steps), "--warmup", str(min(steps, 4))]
    arguments += ["--compile"] if mode == "compile" else []
    before, sys.argv = sys.argv, arguments
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            module.main()
    finally:
        sys.argv = before
    return json.loads(text.getvalue().strip().splitlines()[-1])


def _free() -> None:
    import torch

    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
