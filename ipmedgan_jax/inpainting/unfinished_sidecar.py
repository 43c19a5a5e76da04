"""The sidecar of a job whose files are being written, perhaps by several processes at once."""

import uuid
from contextlib import suppress
from typing import Any

from ipmedgan_jax.core import files
from ipmedgan_jax.inpainting import sidecar
from ipmedgan_jax.inpainting.jobs import UNFINISHED, Job


class UnfinishedSidecar:
    """A sidecar that says that not all files of its job are written, with a mark of the process that writes them."""

    def __init__(self, job: Job):
        self._job, self._mark = job, uuid.uuid4().hex
        self._earlier: dict[str, Any] = {}
        self._earlier_bytes = b""

    def write(self, report: dict[str, Any]) -> None:
        """Writes it with the content that the finished one will have. OSError if it cannot be written."""
        with suppress(FileNotFoundError):
            self._earlier, self._earlier_bytes = sidecar.read(self._job.sidecar), self._job.sidecar.read_bytes()
        files.write_json(self._job.sidecar, report | {UNFINISHED: self._mark})

    def withdraw(self) -> None:
        """Undoes `write` after an error, unless another process has written the sidecar since.

        The one before comes back if the outputs are as it says, those of a process that finished first, or if it was
        unfinished too.
        """
        path = self._job.sidecar
        with suppress(OSError):
            if sidecar.read(path).get(UNFINISHED) != self._mark:
                return
            if self._earlier.get(UNFINISHED) or self._is_earlier_true():
                with files.atomic_file(path) as unfinished:
                    unfinished.write_bytes(self._earlier_bytes)
            else:
                path.unlink()

    def _is_earlier_true(self) -> bool:
        """Whether the sidecar before has the digests of the outputs as they are now."""
        digests = self._earlier.get(sidecar.WRITTEN)
        known = isinstance(digests, dict) and self._job.output.name in digests
        return known and not sidecar.changed_outputs(self._earlier, self._job.outputs(deviation=True))
