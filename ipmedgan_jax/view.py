"""Opens a page on which a hole is painted into a scan and filled, in your browser; nothing leaves this machine.

  python -m ipmedgan_jax.view scan.nii.gz
  python -m ipmedgan_jax.view dicom_folder --series=4
  python -m ipmedgan_jax.view --model=exported/mri scan.nii.gz
  python -m ipmedgan_jax.view --nobrowser --port=8765

A scan can be named here, or opened on the page. The page offers the package's models, the one that --model or --workdir
names, and the classical fills. What is saved has the same bytes as what `inpaint` writes.

The server answers to 127.0.0.1 alone, and to the address that it prints: keep that address to yourself. Stop it by Ctrl-C. On
another machine, forward the port: ssh -L 8765:127.0.0.1:8765 MACHINE, with --nobrowser --port=8765 there.

Not for diagnosis.
"""

import os
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ipmedgan_jax.core import checkpoint_choice, runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.interruption import if_interrupted
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.inpainting import shipped

if TYPE_CHECKING:
    from ipmedgan_jax.viewing.server import Server


def main(arguments: list[str]) -> None:
    from ipmedgan_jax.viewing.server import Server
    from ipmedgan_jax.viewing.session import Session
    from ipmedgan_jax.viewing.sources import offered
    from ipmedgan_jax.viewing.uploads import Limits

    given = flags.FLAGS
    if len(arguments) > 1:
        raise UserError(f"expected one scan at most, got {len(arguments)}: {', '.join(arguments)}")
    if given.series and not arguments:
        raise UserError(f"--series={given.series}: needs the folder of a DICOM series")
    sources = offered(given.workdir, given.model, given.system, given.checkpoint)
    with if_interrupted("the page is closed, and its temporary files are removed"), ExitStack() as stack:
        session = stack.enter_context(closing(Session(sources, Limits(given.limit_mib * 2**20), set_up=runtime.set_up)))
        if arguments:
            session.open_path(user_path(arguments[0]), given.series)
        server = stack.enter_context(closing(Server(session, given.port)))
        server.start()
        print(f"open {server.url}\nstop with Ctrl-C", flush=True)
        session.start()
        if given.browser and _has_desktop():
            threading.Thread(target=_open_browser, args=(server, session.folder), daemon=True).start()
        while True:  # until a signal; one that another thread got is only noticed when a sleep ends
            time.sleep(0.5)


def _open_browser(server: "Server", folder: Path) -> None:
    from ipmedgan_jax.viewing.browser import open_page

    if not open_page(server.url, folder, server.asked):
        print("the browser did not open the page; open the address above in it", flush=True)


def _has_desktop() -> bool:
    """Whether a browser can open a window; without one, Python would start a text browser in this terminal."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def define_flags() -> None:
    flags.DEFINE_string("model", None, f"{shipped.flag_text()} that python -m ipmedgan_jax.export wrote, to begin with")
    flags.DEFINE_string("workdir", None, "instead of --model: folder of the run whose generator fills")
    flags.DEFINE_string("system", None, "instead of --model: classical fill to begin with, for example laplace")
    flags.DEFINE_string("series", "", "number, UID or description of the series, for a DICOM folder that holds several")
    flags.DEFINE_integer("port", 0, "port of 127.0.0.1; 0 for any that is free", lower_bound=0, upper_bound=65535)
    flags.DEFINE_boolean("browser", True, "open the page in the browser")
    flags.DEFINE_integer("limit_mib", 2048, "largest size of an upload, in MiB", lower_bound=1)
    checkpoint_choice.define_flag()


if __name__ == "__main__":
    run_command(main, define_flags, arguments="the scan is", may_lack_arguments=True, leaves_threads=True)
