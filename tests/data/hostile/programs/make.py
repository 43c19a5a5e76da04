"""Finds altered programs that end the process which reads them, and keeps the first of each kind beside this file.

  JAX_PLATFORMS=cpu python make.py [SEED]

A small program is altered at random bytes of its MLIR part; a forked child reads each. Found with JAX 0.10.2 on x86-64.
"""

import os
import random
import resource
import signal
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp

TRIES, KEPT, SECONDS = 4000, 3, 5


def small_program():
    shapes = [(2, 32, 32, 1), (2, 4), (2, 16, 16)]
    batch = [jax.ShapeDtypeStruct(s, t) for s, t in zip(shapes, (jnp.float32, jnp.int32, jnp.uint8), strict=True)]
    made = jax.export.export(jax.jit(lambda weights, image, hole, shape: image + weights[0]), platforms=("cpu", "cuda"))
    return made([jax.ShapeDtypeStruct((), jnp.float32)], *batch)


def read(content):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (2**32, 2**32))
    signal.alarm(SECONDS)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        jax.export.deserialize(bytearray(content)).mlir_module()
    finally:
        os._exit(0)


def main(seed):
    made = small_program()
    content, rng = bytes(made.serialize()), random.Random(seed)
    start = content.find(made.mlir_module_serialized)
    kept = {}
    for i in range(TRIES):
        altered = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 4))):
            altered[start + rng.randrange(len(made.mlir_module_serialized))] = rng.choice(
                (0, 1, 127, 128, 255, rng.randrange(256))
            )
        if not (child := os.fork()):
            read(altered)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            kind = {signal.SIGALRM: "endless"}.get(os.WTERMSIG(status), "crash")
            kept[kind] = kept.get(kind, 0) + 1
            print(i, kind, flush=True)
            if kept[kind] <= KEPT:
                Path(__file__).with_name(f"{kind}_{kept[kind]}.stablehlo").write_bytes(altered)


if __name__ == "__main__":
    main(int(*sys.argv[1:] or ["0"]))
