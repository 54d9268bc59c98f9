"""The embedded PostgreSQL, on a Unix socket in a private folder.

An ordinary user's store is in the project's data folder. PostgreSQL does not run as root: if root starts it, its
programs run as an existing system user, and the stores are in /var/lib/taifish, which that user can access. Settings
import this module, so it does not import Django.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import hashlib
import logging
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from .pginstall import (
    SYSTEM_FOLDER,
    EmbeddedError,
    SystemUser,
    binaries,
    executable_by,
    process_options,
    run,
    system_folder,
    version_of,
)

__all__ = ["Cluster", "EmbeddedError", "become_owner", "binaries", "database", "hold", "store"]

logger = logging.getLogger(__name__)

DATABASE = SUPERUSER = "taifish"
LOG_LIMIT = 10 * 1024 * 1024
SOCKET_PATH_LIMIT = 107
SHORT_FOLDER = Path("/tmp")  # noqa: S108 - the folder that we make in it is private, and checked to be
TIMEOUT = 120.0

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # A failing statement may contain secrets.
    "log_min_error_statement": "panic",
}
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Cluster:
    """One PostgreSQL server: data, socket, log and locks in `home`, superuser by peer authentication.

    `options` are server parameters that override SETTINGS; with listen_addresses and port the server also answers on
    the loopback, by password. For root, `home` belongs to root and `home/data` to the system user who runs the server;
    that user needs search permission on every parent of `home`.
    """

    def __init__(
        self,
        home: Path,
        *,
        bin_dir: Path | None = None,
        superuser: str = SUPERUSER,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.home = Path(os.path.realpath(home))
        self.data = self.home / "data"
        self.log = self.home / "postgresql.log"
        self.superuser = superuser
        self._bin_dir = bin_dir
        self._options = {**SETTINGS, **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return int(self._options["port"])

    @property
    def socket_dir(self) -> Path:
        """Folder of the socket: in `home`, or under /tmp if that path is too long for a socket.

        Not in TMPDIR or XDG_RUNTIME_DIR, because every process must find the server in any environment.
        """
        inside = self.home / "run"
        if len(os.fsencode(inside / f".s.PGSQL.{self.port}")) <= SOCKET_PATH_LIMIT:
            return inside
        return SHORT_FOLDER / f"taifish-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]}"

    def running(self) -> bool:
        """Whether a server, started by any process, uses this data folder."""
        return self._server() is not None

    def start(self) -> None:
        """Create the cluster if it is missing, start it if it does not run, return when it accepts connections.

        Safe when several processes call it at once. Raises EmbeddedError.
        """
        with self._locked() as lock:
            self._start(lock)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server ("fast", "immediate") and wait, if it runs. Raises EmbeddedError."""
        if self.home.exists():
            with self._locked():
                self._stop(mode)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            with _open(self.home / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield lock.fileno()
        except OSError as error:
            raise self._failure(
                f"The embedded PostgreSQL in {self.home} cannot be used: {error}. Run as the user who owns "
                "that folder, or name another data folder in TAIFISH_DATA_DIR."
            ) from error

    def _start(self, lock: int) -> None:
        deadline = time.monotonic() + TIMEOUT
        launched, log_from = None, 0
        while (server := self._server()) is None or server[1] != "ready":
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL is still starting or stopping. See {self.log}.")
            if launched and launched.poll() is not None:
                output = self.log.read_bytes()[log_from:].decode(errors="replace")
                # The backends of a killed server may outlive it for a moment.
                if "pre-existing shared memory block" not in output:
                    raise self._failure(f"PostgreSQL did not start in {self.home}.", output)
                launched = None
                time.sleep(0.2)
            elif not launched and not server:
                launched, log_from = self._launch(lock)
            time.sleep(0.02)

    def _launch(self, lock: int) -> tuple[subprocess.Popen[bytes], int]:
        """Start the server's process. Returns it, and the size that its log had before."""
        for leftover in self.home.glob(".data-*"):
            shutil.rmtree(leftover)
        version = self.data / "PG_VERSION"
        made_by = int(version.read_text()) if version.exists() else None
        try:
            bin_dir = executable_by(self.user, self._bin_dir or binaries(made_by))
        except EmbeddedError as error:
            raise EmbeddedError(f"{self.data} cannot be used. {error}") from error
        if not made_by:
            self._create(bin_dir, lock)
        _private_folder(self.socket_dir, self.user)
        # PostgreSQL would not start if another process of this user had the old process id.
        for stale in (self.data / "postmaster.pid", *self.socket_dir.glob(f".s.PGSQL.{self.port}*")):
            stale.unlink(missing_ok=True)
        options = {
            **self._options,
            "unix_socket_directories": _quoted(str(self.socket_dir)),
            "hba_file": str(self.home / "pg_hba.conf"),
            "ident_file": str(self.home / "pg_ident.conf"),
        }
        self._write_access_rules()
        # Only in a folder of this user: another owner must be able to write to the new log.
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT and self.home.stat().st_uid == os.geteuid():
            self.log.replace(self.log.with_suffix(".log.1"))
        with _open(self.log) as log:
            size = log.tell()
            self._process = subprocess.Popen(  # noqa: S603
                [bin_dir / "postgres", "-D", self.data, *(f"--{name}={value}" for name, value in options.items())],
                **process_options(self.user),
                stdout=log,
                stderr=log,
            )
        return self._process, size

    def _create(self, bin_dir: Path, lock: int) -> None:
        """Create the cluster under another name, then rename it, so that an incomplete cluster is never used."""
        if self.data.exists() and any(self.data.iterdir()):
            raise EmbeddedError(f"{self.data} is not empty and contains no PostgreSQL cluster. Move it away.")
        new = Path(tempfile.mkdtemp(prefix=".data-", dir=self.home))
        if self.user:
            os.chown(new, *self.user)
        # The builtin provider exists since 17.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = run(
            [
                *(bin_dir / "initdb", "--pgdata", new, "--username", self.superuser, "--encoding=UTF8"),
                *("--locale=C", "--data-checksums", "--auth=reject"),
                *(builtin if int(version_of(bin_dir).partition(".")[0]) >= 17 else []),
            ],
            self.user,
            # If this process is killed, initdb continues and keeps the lock, so no other process deletes its folder.
            pass_fds=[lock],
        )
        if initdb.returncode:
            shutil.rmtree(new)
            raise self._failure(f"initdb failed in {self.home}.", initdb.stdout)
        new.rename(self.data)
        folder = os.open(self.home, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _write_access_rules(self) -> None:
        """Write pg_hba.conf and pg_ident.conf, outside the data: root writes only where no other user may write."""
        superuser = _quoted(self.superuser)
        _write(
            self.home / "pg_hba.conf",
            f"local all {superuser} peer map=taifish\n"
            "local all all scram-sha-256\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
            "host all all ::1/128 scram-sha-256\n",
        )
        names = []
        for uid in {0, os.geteuid(), self.data.stat().st_uid}:
            with suppress(KeyError):
                names.append(_quoted(pwd.getpwuid(uid).pw_name))
        _write(self.home / "pg_ident.conf", "".join(f"taifish {name} {superuser}\n" for name in sorted(names)))

    def _stop(self, mode: str) -> None:
        server = self._server()
        if not server:
            return
        os.kill(server[0], STOP_SIGNALS[mode])
        deadline = time.monotonic() + TIMEOUT
        # The server removes its pid file before it exits.
        while self._serves(server[0]):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL (pid {server[0]}) did not stop in {TIMEOUT:.0f} s.")
            time.sleep(0.02)
        if self._process:
            self._process.wait()

    def _server(self) -> tuple[int, str] | None:
        """Process id and status ("starting", "ready", "stopping", or "") of the server that uses this data folder.

        PostgreSQL's src/include/utils/pidfile.h defines the lines of postmaster.pid, unchanged since version 10.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        pid = int(lines[0]) if lines and lines[0].isdecimal() else 0
        return (pid, lines[7].strip() if len(lines) > 7 else "") if self._serves(pid) else None

    def _serves(self, pid: int) -> bool:
        command = _command_line(pid)
        return bool(command) and Path(command[0]).name == "postgres" and str(self.data) in command

    @cached_property
    def user(self) -> SystemUser | None:
        """The user who runs the server for root: the owner of the data, else a system user. None: the current user."""
        if os.geteuid() != 0:
            return None
        if (owner := (self.data if self.data.exists() else self.home).stat()).st_uid:
            return owner.st_uid, owner.st_gid
        given = os.environ.get("TAIFISH_EMBEDDED_USER")
        for name in [given] if given else ["taifish", "postgres", "nobody"]:
            with suppress(KeyError):
                if (found := pwd.getpwnam(name)).pw_uid:
                    return found.pw_uid, found.pw_gid
        raise EmbeddedError(
            "PostgreSQL does not run as root. Name an existing unprivileged user in TAIFISH_EMBEDDED_USER, "
            "run Taifish as an ordinary user, or set DATABASE_URL."
        )

    def _failure(self, message: str, output: str = "") -> EmbeddedError:
        """The error for a failure: with the end of the output, or about a full disk."""
        if any(os.strerror(code) in message + output for code in (errno.ENOSPC, errno.EDQUOT)):
            return EmbeddedError(
                f"The disk of {self.home} is full (No space left on device). Free some space and start again. No "
                "incomplete files remain."
            )
        tail = "\n".join(output.strip().splitlines()[-15:])
        return EmbeddedError(f"{message} The end of its log:\n{tail}" if tail else message)


def store(var: Path) -> Cluster:
    """The embedded store for the data folder `var`. Does not start it."""
    var = Path(os.path.realpath(var))
    if os.geteuid() != 0 or (var / "postgres").exists():
        return Cluster(var / "postgres")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", var.parent.name if var.name == "var" else var.name)[:40]
    return Cluster(SYSTEM_FOLDER / f"{name}-{hashlib.sha256(os.fsencode(var)).hexdigest()[:8]}")


def become_owner(var: Path) -> None:
    """As root, switch to the ordinary user who has a store in `var`, so that new files belong to that user.

    If that user cannot read this program, it stays root, and only PostgreSQL runs as that user.
    """
    home = store(var).home
    if os.geteuid() != 0 or not home.exists() or not (owner := home.stat()).st_uid:
        return
    user = owner.st_uid, owner.st_gid
    if all(run(["test", "-r", path], user).returncode == 0 for path in (sys.executable, os.__file__, __file__)):
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
        with suppress(KeyError):
            os.environ["HOME"] = pwd.getpwuid(owner.st_uid).pw_dir


def database(var: Path) -> dict[str, Any]:
    """Django's DATABASES entry for the store of `var`. Does not start it."""
    cluster = store(var)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASE,
        "USER": cluster.superuser,
        "HOST": str(cluster.socket_dir),
        "PORT": str(cluster.port),
    }


def keep_private(var: Path) -> None:
    """Create the data folder, or take it from other users: mode 0700, or 0711 if a store in it belongs to another user.

    A folder of another user is left as it is.
    """
    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen, inside = var.stat(), var / "postgres"
    mode = 0o711 if inside.exists() and inside.stat().st_uid != seen.st_uid else 0o700
    if seen.st_uid == os.geteuid() and stat.S_IMODE(seen.st_mode) & 0o077 & ~mode:
        var.chmod(mode)


_holds: dict[Path, BinaryIO] = {}
# A forked child holds nothing until it calls `hold` itself.
os.register_at_fork(after_in_child=_holds.clear)


def hold(var: Path) -> None:
    """Start the store of `var` with its database if necessary, and keep it up until this process exits.

    The last holder to exit stops the server; a killed process no longer holds it. Raises EmbeddedError.
    """
    cluster = store(var)
    if cluster.home in _holds:
        return
    outside = cluster.home.parent != Path(os.path.realpath(var))
    if outside:
        system_folder()
    with cluster._locked() as lock:
        if outside:
            _tie(var, cluster)
        cluster._start(lock)
        _ensure_database(cluster)
        _holds[cluster.home] = _open(cluster.home / "holders")
        fcntl.flock(_holds[cluster.home], fcntl.LOCK_SH)
    atexit.register(_release, cluster)


def _release(cluster: Cluster) -> None:
    holders = _holds.pop(cluster.home, None)
    if holders is None or not cluster.home.exists():
        return
    with cluster._locked(), suppress(BlockingIOError):
        fcntl.flock(holders, fcntl.LOCK_EX | fcntl.LOCK_NB)
        cluster._stop("fast")


def _tie(var: Path, cluster: Cluster) -> None:
    """Write the same id into `var` and root's store outside it, so that a new checkout at that path gets a new store.

    The keys of the old store's credentials were in the old `var`. The old data are renamed and kept.
    """
    ids = var / "store.id", cluster.home / "id"
    if all(path.exists() for path in ids) and len({path.read_text() for path in ids}) == 1:
        return
    if cluster.data.exists():
        cluster._stop("fast")
        aside = cluster.home / time.strftime("data-%Y%m%dT%H%M%S")
        cluster.data.rename(aside)
        logger.warning("%s belongs to an earlier data folder at %s. Renamed to %s.", cluster.data, var, aside)
    var.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    for path in ids:
        _write(path, token)


def _ensure_database(cluster: Cluster) -> None:
    import psycopg2

    with closing(
        psycopg2.connect(host=str(cluster.socket_dir), port=cluster.port, user=cluster.superuser, dbname="postgres")
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {_quoted(DATABASE)}")


def _private_folder(folder: Path, user: SystemUser | None) -> None:
    """Create the folder; if it exists, check that only the server's user can enter it. Raises EmbeddedError."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if user:
            os.chown(folder, *user, follow_symlinks=False)
    seen, owner = folder.lstat(), user[0] if user else os.geteuid()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != owner or seen.st_mode & 0o077:
        raise EmbeddedError(f"{folder} must be a private folder (mode 0700) of user id {owner}. Remove it.")


def _command_line(pid: int) -> list[str]:
    """Program and arguments of a process; [] if it does not exist or is a zombie."""
    if not Path("/proc/self").exists():
        return run(["ps", "-o", "args=", "-p", str(pid)]).stdout.split()
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return os.fsdecode(line).rstrip("\0").split("\0") if line else []


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _open(path: Path) -> BinaryIO:
    """Open a private file to append to, created if missing; never through a symbolic link."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")


def _write(path: Path, text: str) -> None:
    """Replace a file atomically. It is readable by all, because the server's user reads it; it contains no secret."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    Path(file.name).replace(path)
