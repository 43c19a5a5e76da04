"""Paths and file names as users have them: home folders, and names that are not UTF-8."""

import os
import pwd
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from ipmedgan_jax.core.errors import UserError

_HOME = r"/home/[^/\s,;:'\"()]+|/Users/[^/\s,;:'\"()]+|/root"
"""Home folders of other accounts, where Linux and macOS have them."""

_UPWARDS = r"(?<![\w./~-])(?:\./)*(?:\.\./)+[^\s,;:'\"()]+"
"""Matches a relative path that begins with `..`."""


def user_path(text: str) -> Path:
    """Returns the path that a flag or setting names, with `~` replaced by the home folder; UserError if that is not known."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        account = Path(text).parts[0]
        raise UserError(f"{text}: the home folder {account} is not known here; give the path without {account}") from error


def own_home() -> Path | None:
    """Returns the home folder of this account; None if neither HOME nor the list of accounts gives one."""
    with suppress(RuntimeError):
        home = Path.home()
        return home if home.is_absolute() and len(home.parts) > 1 else None  # some containers set HOME=/
    return None


def home_of(path: Path) -> Path | None:
    """Returns the home folder, of any account, that an absolute path without `..` lies in; None if it lies in none."""
    own = own_home()
    homes = {own, own.resolve()} if own else set()
    root, *parts = path.parts
    if parts[:1] in (["home"], ["Users"]) and len(parts) > 1:
        homes.add(Path(root, *parts[:2]))
    elif parts[:1] == ["root"]:
        homes.add(Path(root, "root"))
    return max((home for home in homes if path.is_relative_to(home)), key=lambda home: len(home.parts), default=None)


def without_homes(text: str, *, expandable: bool = False) -> str:
    """Returns a text with `~` in place of each home folder, so that files can be shared without names of accounts.

    A relative path that leads from the current folder into another home, such as `../eve/scan.nii`, names that home too.

    Args:
      text: a path, or any text that holds paths.
      expandable: whether the paths are read again. Then `~` is this account's home alone. Another account's home becomes
        `~NAME`, or stays as it is if the account is unknown on this machine. Relative paths stay.
    """
    if not expandable:
        text = re.sub(_UPWARDS, lambda found: _without_home_upwards(found[0]), text)
    home = own_home()
    own = {str(home), str(home.resolve())} if home else set()
    pattern = "|".join([*map(re.escape, sorted(own, key=len, reverse=True)), _HOME])

    def replacement(found: re.Match) -> str:
        if found[0] in own or not expandable:
            return "~"
        return _account_home(found[0])

    return re.sub(rf"(?<![\w./~-])(?:{pattern})(?=[/\s,;:'\")]|$)", replacement, text)


def _without_home_upwards(relative: str) -> str:
    """Returns a path from the current folder with `~` if it leads into a home that this folder does not lie in."""
    with suppress(FileNotFoundError):  # the current folder was deleted
        here = Path.cwd()
        path = Path(os.path.normpath(here / relative))
        if (home := home_of(path)) and not here.is_relative_to(home):
            return Path("~", path.relative_to(home)).as_posix()
    return relative


def _account_home(folder: str) -> str:
    """Returns `~NAME` if a folder is the home of the account of its name, else the folder."""
    with suppress(KeyError):
        if pwd.getpwnam(Path(folder).name).pw_dir == folder:
            return f"~{Path(folder).name}"
    return folder


def as_utf8(name: str) -> str:
    """Returns a file name as valid UTF-8: each byte that is not, as in names in Latin-1, becomes `%` and two hex digits."""
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{os.fsencode(byte[0])[0]:02X}", name)


def percent_encoded(path: str, *, safe: str = "/") -> str:
    """Returns a path for an address: `%` and two hex digits for each byte but letters, digits, `_.-~` and `safe`."""
    return quote(os.fsencode(path), safe=safe)  # of a text, `quote` takes only valid UTF-8


def is_utf8(path: Path) -> bool:
    """Whether a path is valid UTF-8; some libraries that write files accept no other."""
    return as_utf8(str(path)) == str(path)
