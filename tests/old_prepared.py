"""Prepared data as versions before the digests wrote them."""

import json
from dataclasses import replace
from pathlib import Path

from ipmedgan_jax.data import dataset_file, records

DIGESTS = ("records_sha256", "settings_sha256", "fields_sha256")


def without_digests(folder: Path, format_version: int = 2) -> Path:
    """Rewrites records, receipts and dataset.json of a folder in an older format; returns the folder."""
    for path in folder.glob("*/*.arrayrecord"):
        records.write_shard(path, [replace(record, records_sha256="") for record in records.read_shard(path)])
    for path in folder.glob("*/*.json"):
        path.write_text(json.dumps(_left(json.loads(path.read_text()))))
    content = _left(json.loads((folder / dataset_file.DATASET_FILE).read_text()))
    content["volumes"] = {name: _left(volume) for name, volume in content["volumes"].items()}
    (folder / dataset_file.DATASET_FILE).write_text(json.dumps(content | {"format_version": format_version}))
    return folder


def _left(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if name not in DIGESTS}
