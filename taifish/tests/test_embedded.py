"""The embedded PostgreSQL: every ending of a start, on real servers.

As root the servers run as an existing system user; what an ordinary user would see is then run as `nobody`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
from cryptography.fernet import Fernet

from taifish import embedded, pginstall
from taifish.embedded import Cluster, EmbeddedError, binaries
from taifish.tests.postgres import free_port

ROOT = os.geteuid() == 0
CHECKOUT = Path(embedded.__file__).resolve().parents[1]
as_root = pytest.mark.skipif(not ROOT, reason="needs root: run the tests as root too")
NOBODY = pwd.getpwnam("nobody")[2:4]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of our own that a system user can pass through, gone afterwards with every server in it."""
    path = Path(tempfile.mkdtemp(prefix="taifish-test-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    for pid_file in path.rglob("postmaster.pid"):
        Cluster(pid_file.parents[1]).stop("immediate")
    shutil.rmtree(path)


@pytest.fixture
def var(folder: Path) -> Iterator[Path]:
    """A data folder whose store, wherever it lies, is stopped and removed afterwards."""
    path = folder / "checkout" / "var"
    path.mkdir(parents=True)
    yield path
    cluster = embedded.store(path)
    cluster.stop("immediate")
    shutil.rmtree(cluster.home, ignore_errors=True)
    if ROOT:
        with contextlib.suppress(OSError):
            pginstall.SYSTEM_FOLDER.rmdir()


@pytest.fixture
def portable(folder: Path) -> Path:
    """A folder to put on PYTHONPATH: the launcher, its driver and its binaries, readable by everyone."""
    path = folder / "portable"
    (path / "taifish").mkdir(parents=True)
    (path / "taifish" / "__init__.py").touch()
    for module in (embedded, pginstall):
        shutil.copy(str(module.__file__), path / "taifish")
    for package in ("psycopg2", pginstall.PACKAGE):
        origin = Path(importlib.util.find_spec(package).origin).parent
        for source in origin.parent.glob(f"{package}*"):
            if source.name in (package, f"{package}_binary.libs", f"{package}.libs"):
                shutil.copytree(source, path / source.name, ignore=shutil.ignore_patterns("include", "pginstall"))
    return path


def answer(cluster: Cluster, sql: str, **how: object) -> str:
    where = {
        "host": str(cluster.socket_dir),
        "port": cluster.port,
        "user": cluster.superuser,
        "dbname": "postgres",
    }
    connection = psycopg2.connect(**(where | how))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0]) if cursor.description else ""
    finally:
        connection.close()


def server_pid(cluster: Cluster) -> int:
    return int((cluster.data / "postmaster.pid").read_text().split()[0])


def kill_server(cluster: Cluster) -> None:
    os.kill(server_pid(cluster), signal.SIGKILL)
    wait_until(lambda: not cluster.running())


def wait_until(true: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def modes(path: Path) -> dict[str, tuple[int, int, int]]:
    """Mode and owner of every parent of `path`."""
    return {str(parent): (seen.st_mode, seen.st_uid, seen.st_gid) for parent in path.parents if (seen := parent.stat())}


def python(code: str, *arguments: object, path: Path = CHECKOUT, **how: object) -> subprocess.Popen[str]:
    """Another process that runs `code`, with what it needs on sys.path; its stdin and stdout are pipes."""
    return subprocess.Popen(
        [how.pop("program", sys.executable), "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **how,
    )


def wait_for_line(process: subprocess.Popen[str], line: str) -> str:
    """Read what the process says up to that line; all of it."""
    said = ""
    while not said.endswith(line):
        read = process.stdout.readline()
        assert read, said
        said += read
    return said


HOLD = """
    import sys
    from pathlib import Path
    from taifish import embedded
    embedded.hold(Path(sys.argv[1]))
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def holder(var: Path) -> Iterator[subprocess.Popen[str]]:
    process = python(HOLD, var)
    try:
        wait_for_line(process, "held\n")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_server_on_a_private_socket(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    assert not cluster.running()
    cluster.start()
    pid = server_pid(cluster)
    cluster.start()
    assert server_pid(cluster) == pid
    assert answer(cluster, "SELECT current_user || ' ' || current_setting('data_checksums')") == "taifish on"
    assert answer(cluster, "SELECT datlocale FROM pg_database WHERE datname = 'postgres'") == "C.UTF-8"
    assert answer(cluster, "SHOW listen_addresses") == ""
    assert stat.S_IMODE(cluster.socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.data.stat().st_mode) == 0o700
    cluster.stop()
    assert not cluster.running()
    assert not embedded._command_line(pid)


@as_root
def test_no_other_user_gets_in(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    cluster.start()
    assert cluster.data.stat().st_uid not in (0, NOBODY[0])
    # Even one who reaches the socket is not let in as the superuser.
    cluster.socket_dir.chmod(0o755)
    psql = [binaries() / "psql", "-h", cluster.socket_dir, "-U", "taifish", "-wc", "SELECT 1", "postgres"]
    refused = pginstall.run(psql, NOBODY)
    assert refused.returncode
    assert "Peer authentication failed" in refused.stdout
    cluster.socket_dir.chmod(0o700)
    assert "Permission denied" in pginstall.run(psql, NOBODY).stdout


def test_a_target_on_tcp_asks_for_a_password(folder: Path) -> None:
    port = free_port()
    cluster = Cluster(folder / "home", options={"listen_addresses": "127.0.0.1", "port": str(port)})
    cluster.start()
    answer(cluster, "CREATE ROLE visitor LOGIN PASSWORD 'right'")
    tcp = {"host": "127.0.0.1", "user": "visitor"}
    assert answer(cluster, "SELECT current_user", password="right", **tcp) == "visitor"
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        answer(cluster, "SELECT 1", password="wrong", **tcp)


def test_killed_with_9_it_recovers(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    cluster.start()
    answer(cluster, "CREATE TABLE kept AS SELECT 42 AS x")
    kill_server(cluster)
    Cluster(cluster.home).start()
    assert answer(cluster, "SELECT x FROM kept") == "42"


def test_a_stale_pid_that_someone_else_has_now(folder: Path) -> None:
    """PostgreSQL itself would refuse: the pid in postmaster.pid is alive, and of the same user."""
    cluster = Cluster(folder / "home")
    cluster.start()
    owner = cluster.data.stat().st_uid
    pid_file = cluster.data / "postmaster.pid"
    sockets = list(cluster.socket_dir.glob(".s.PGSQL.*.lock"))
    assert sockets
    with subprocess.Popen(["sleep", "60"], user=owner) as stranger:
        try:
            kill_server(cluster)
            for path in (pid_file, *sockets):
                lines = path.read_text().splitlines()
                path.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            assert not cluster.running()
            cluster.stop("immediate")
            cluster.start()
            assert answer(cluster, "SELECT 1") == "1"
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_half_made_cluster_is_made_anew(folder: Path) -> None:
    """Killed while initdb works: initdb keeps the lock, and what it leaves is cleared, not started."""
    cluster = Cluster(folder / "home")
    starting = python(
        "import sys; from pathlib import Path; from taifish.embedded import Cluster; Cluster(Path(sys.argv[1])).start()",
        cluster.home,
    )
    wait_until(lambda: list(cluster.home.glob(".data-*/base")))
    starting.kill()
    starting.communicate()
    assert not cluster.data.exists()
    cluster.start()
    assert answer(cluster, "SELECT 1") == "1"
    assert not list(cluster.home.glob(".data-*"))


def test_a_data_folder_of_something_else_is_not_touched(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    cluster.data.mkdir(parents=True)
    (cluster.data / "letter.txt").write_text("dear")
    with pytest.raises(EmbeddedError, match="Move it away"):
        cluster.start()
    assert (cluster.data / "letter.txt").read_text() == "dear"


def test_two_processes_start_it_at_once(folder: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from taifish.embedded import Cluster
        cluster = Cluster(Path(sys.argv[1]))
        print("ready", flush=True)
        sys.stdin.readline()
        cluster.start()
        print((cluster.data / "postmaster.pid").read_text().split()[0], flush=True)
    """
    both = [python(code, folder / "home") for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said == [str(server_pid(Cluster(folder / "home")))] * 2


def test_data_of_another_major_run_on_their_own_binaries(folder: Path) -> None:
    old = Cluster(folder / "home", bin_dir=binaries(16))
    old.start()
    answer(old, "CREATE TABLE kept AS SELECT 16 AS x")
    old.stop()
    assert binaries() == binaries(18)
    new = Cluster(folder / "home")
    new.start()
    assert answer(new, "SHOW server_version").startswith("16.")
    assert answer(new, "SELECT x FROM kept") == "16"


def test_data_of_a_major_that_is_not_installed_need_dump_and_restore(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    cluster.start()
    cluster.stop()
    (cluster.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedError, match=rf"{cluster.data} cannot be used.*made by 15 .*pg_dumpall.*psql"):
        cluster.start()


def test_a_path_too_long_for_a_socket(folder: Path) -> None:
    cluster = Cluster(folder / ("long" * 30) / "home")
    assert cluster.socket_dir.parent == Path("/tmp")
    cluster.socket_dir.mkdir(mode=0o755)
    try:
        with pytest.raises(EmbeddedError, match="must be a private folder"):
            cluster.start()
        cluster.socket_dir.rmdir()
        cluster.start()
        assert answer(cluster, "SELECT 1") == "1"
        assert stat.S_IMODE(cluster.socket_dir.stat().st_mode) == 0o700
        cluster.stop()
    finally:
        cluster.socket_dir.rmdir()


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of a given size; skipped, and said, where nothing may be mounted."""
    disk = folder / "disk"
    disk.mkdir()

    def mount(size: str) -> Path:
        tried = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "none", disk],
            capture_output=True,
            text=True,
        )
        if tried.returncode:
            pytest.skip(f"A FULL DISK WAS NOT TESTED: no tmpfs can be mounted here ({tried.stderr.strip()})")
        return disk

    yield mount
    Cluster(disk / "home").stop("immediate")
    # The server has ended, and the kernel may not have closed its files yet.
    subprocess.run(["umount", "--lazy", disk], capture_output=True)


def test_a_disk_too_small_for_the_cluster(small_disk: Callable[[str], Path]) -> None:
    cluster = Cluster(small_disk("16m") / "home")
    with pytest.raises(EmbeddedError, match=r"is full \(No space left on device\)\. Free some space"):
        cluster.start()
    assert not cluster.data.exists()
    assert not list(cluster.home.glob(".data-*"))


def test_a_disk_that_filled_up_between_two_starts(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("200m")
    cluster = Cluster(disk / "home")
    cluster.start()
    cluster.stop()
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(EmbeddedError, match="Free some space"):
        cluster.start()
    filler.unlink()
    cluster.start()
    assert answer(cluster, "SELECT 1") == "1"


@pytest.mark.parametrize("embedded_one", [True, False], ids=["embedded", "external"])
def test_a_command_says_that_the_disk_of_the_store_is_full(
    small_disk: Callable[[str], Path], tmp_path: Path, embedded_one: bool
) -> None:
    """The advice is to free space, not to start the store, which runs."""
    disk = small_disk("200m")
    # As root, a store lies in the data folder only if one is there.
    (disk / "home" / "postgres").mkdir(parents=True)
    (disk / "home").chmod(0o711)
    cluster = Cluster(disk / "home" / "postgres")
    cluster.start()
    answer(cluster, "CREATE DATABASE taifish", dbname="postgres")
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    data = disk / "home" if embedded_one else tmp_path
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TAIFISH_", "DATABASE_URL"))},
        "TAIFISH_DATA_DIR": str(data),
        "TAIFISH_SECRET_KEY": "s" * 60,
        "TAIFISH_CREDENTIAL_KEYS": Fernet.generate_key().decode(),
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    if not embedded_one:
        url = f"postgresql://taifish@{quote(str(cluster.socket_dir), safe='')}:{cluster.port}/taifish"
        environment["DATABASE_URL"] = url
    command = [sys.executable, "manage.py", "migrate", "-v", "0"]
    found = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    cluster.stop("immediate")
    assert found.returncode == 1
    assert "the disk of the store" in found.stderr
    assert "No space left on device" in found.stderr
    assert "Free some space on it" in found.stderr
    assert "Start it" not in found.stderr
    assert "Traceback" not in found.stderr


def test_a_long_log_is_put_aside_at_the_start(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    cluster.home.mkdir()
    with cluster.log.open("w") as log:
        log.truncate(pginstall_limit := embedded.LOG_LIMIT + 1)
    cluster.start()
    assert cluster.log.stat().st_size < 10_000
    assert cluster.log.with_suffix(".log.1").stat().st_size == pginstall_limit


def test_no_statement_reaches_the_log(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    cluster.start()
    with pytest.raises(psycopg2.errors.UndefinedTable):
        answer(cluster, "SELECT 'very-secret' FROM nowhere")
    assert 'relation "nowhere" does not exist' in cluster.log.read_text()
    assert "very-secret" not in cluster.log.read_text()


def test_why_a_start_failed_is_said(folder: Path) -> None:
    cluster = Cluster(folder / "home", options={"max_connections": "none"})
    with pytest.raises(EmbeddedError, match=r'(?s)did not start.*invalid value for parameter "max_connections"'):
        cluster.start()


def test_without_the_wheel(portable: Path) -> None:
    shutil.rmtree(portable / pginstall.PACKAGE)
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(portable)!r})\n"
         "from taifish.embedded import binaries\nbinaries()"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode
    assert "The PostgreSQL binaries are not installed. Run `make setup`" in process.stderr


def test_a_major_the_wheel_has_not() -> None:
    with pytest.raises(EmbeddedError, match=r"PostgreSQL 9 is not in .* which has 16, 18\."):
        binaries(9)


@as_root
def test_binaries_out_of_the_systems_users_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pginstall, "SYSTEM_FOLDER", folder / "system")
    private = folder / "private"
    private.mkdir(mode=0o700)
    site_packages = binaries().parents[2]
    for name in (pginstall.PACKAGE, f"{pginstall.PACKAGE}.libs"):
        shutil.copytree(site_packages / name, private / name, ignore=shutil.ignore_patterns("pginstall", "include"))
    bin_dir = private / pginstall.PACKAGE / "pginstall18" / "bin"
    cluster = Cluster(folder / "home", bin_dir=bin_dir)
    before = modes(bin_dir)
    for _ in range(2):
        cluster.start()
        assert answer(cluster, "SELECT 1") == "1"
        cluster.stop()
    assert modes(bin_dir) == before
    copies = list((folder / "system").iterdir())
    assert [copy.name.split("-")[:2] for copy in copies] == [["bin", pginstall.version_of(bin_dir)]]


def test_naming_the_store_starts_nothing(var: Path) -> None:
    entry = embedded.database(var)
    assert entry["NAME"] == entry["USER"] == "taifish"
    assert entry["HOST"] == str(embedded.store(var).socket_dir)
    assert not embedded.store(var).home.exists()
    assert list(var.iterdir()) == []


def test_the_last_holder_stops_the_server(var: Path) -> None:
    cluster = embedded.store(var)
    with holder(var) as first, holder(var) as second:
        pid = server_pid(cluster)
        first.communicate("go\n")
        assert cluster.running()
        assert answer(cluster, "SELECT current_database()", dbname="taifish") == "taifish"
        second.communicate("go\n")
        assert (first.returncode, second.returncode) == (0, 0)
        assert not cluster.running()
        assert not embedded._command_line(pid)


def test_a_killed_holder_leaves_the_server_to_the_next(var: Path) -> None:
    cluster = embedded.store(var)
    with holder(var) as first:
        pid = server_pid(cluster)
        first.kill()
        first.wait()
    assert server_pid(cluster) == pid
    assert answer(cluster, "SELECT 1") == "1"
    with holder(var) as second:
        assert server_pid(cluster) == pid
        second.communicate("go\n")
    assert not cluster.running()


def test_a_fork_of_a_holder_neither_stops_nor_holds(var: Path) -> None:
    code = HOLD.replace(
        "sys.stdin.readline()",
        """import os, time
    child = os.fork()
    if not child:
        sys.exit(0)
    os.waitpid(child, 0)
    print(embedded.store(Path(sys.argv[1])).running(), flush=True)
    if not os.fork():
        time.sleep(300)
    """,
    )
    process = python(code, var, start_new_session=True)
    try:
        assert process.stdout.readline() == "held\n"
        assert process.stdout.readline() == "True\n"
        process.wait(120)
        assert process.returncode == 0
        # One fork still sleeps, and keeps nothing up.
        assert not embedded.store(var).running()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@as_root
def test_root_changes_nothing_outside_its_own_places(var: Path) -> None:
    private = var.parent
    private.chmod(0o700)
    before, users = modes(var / "x"), Path("/etc/passwd").read_bytes()
    temporary = set(Path("/tmp").iterdir())
    with holder(var) as process:
        cluster = embedded.store(var)
        assert cluster.home.parent == pginstall.SYSTEM_FOLDER
        assert answer(cluster, "SELECT current_user", dbname="taifish") == "taifish"
        assert cluster.data.stat().st_uid != 0
        process.communicate("go\n")
    assert modes(var / "x") == before
    assert Path("/etc/passwd").read_bytes() == users
    assert [path.name for path in var.iterdir()] == ["store.id"]
    # Not what tests in other processes have there.
    left = {path for path in set(Path("/tmp").iterdir()) - temporary if re.fullmatch("taifish-[0-9a-f]{16}", path.name)}
    assert left == set()


@as_root
def test_a_new_checkout_at_the_same_path_gets_a_new_store(var: Path) -> None:
    cluster = embedded.store(var)
    with holder(var) as process:
        answer(cluster, "CREATE TABLE old AS SELECT 1")
        process.communicate("go\n")
    with holder(var) as process:
        assert answer(cluster, "SELECT to_regclass('old') IS NULL") == "False"
        process.communicate("go\n")
    shutil.rmtree(var)
    var.mkdir()
    with holder(var) as process:
        assert answer(cluster, "SELECT to_regclass('old') IS NULL") == "True"
        process.communicate("go\n")
    assert len(list(cluster.home.glob("data-*/PG_VERSION"))) == 1


@pytest.fixture
def ordinary(portable: Path) -> dict[str, object]:
    """How `python` runs code as an ordinary user: as nobody if we are root."""
    how = {"user": NOBODY[0], "group": NOBODY[1], "extra_groups": []} if ROOT else {}
    programs = [sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"]
    for program in programs:
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if subprocess.run([program, "-c", ""], cwd="/", **how).returncode == 0:
                return {"program": program, "path": portable, "cwd": "/", **how}
    pytest.skip(f"NO ORDINARY USER WAS TESTED: nobody can run none of {programs}")


@pytest.fixture
def their_var(folder: Path) -> Path:
    """The data folder of an ordinary user, in a folder that no other user can enter."""
    var = folder / "home" / "checkout" / "var"
    var.mkdir(parents=True)
    (folder / "home").chmod(0o700)
    if ROOT:
        for path in (folder / "home", folder / "home" / "checkout", var):
            os.chown(path, *NOBODY)
    return var


def test_an_ordinary_user_needs_nothing_but_the_data_folder(their_var: Path, ordinary: dict[str, object]) -> None:
    """No folder is opened to others, no user is made, and only the data folder is written to."""
    before, system = modes(their_var / "x"), pginstall.SYSTEM_FOLDER.exists()
    process = python(HOLD, their_var, **ordinary)
    try:
        wait_for_line(process, "held\n")
        cluster = Cluster(their_var / "postgres")
        assert answer(cluster, "SELECT current_user", dbname="taifish") == "taifish"
        assert cluster.data.stat().st_uid == their_var.stat().st_uid
        process.communicate("go\n")
        assert process.returncode == 0
        assert not cluster.running()
    finally:
        process.kill()
    assert modes(their_var / "x") == before
    assert [path.name for path in their_var.iterdir()] == ["postgres"]
    assert pginstall.SYSTEM_FOLDER.exists() == system


def test_the_data_folder_of_an_ordinary_user_may_be_the_system_folder(
    their_var: Path, ordinary: dict[str, object]
) -> None:
    """A system user's home is often in /var/lib."""
    process = python(
        """
        import sys
        from pathlib import Path
        from taifish import embedded, pginstall
        embedded.SYSTEM_FOLDER = pginstall.SYSTEM_FOLDER = Path(sys.argv[1])
        embedded.hold(Path(sys.argv[1]))
        """,
        their_var,
        **ordinary,
    )
    output = process.communicate()[0]
    assert (process.returncode, output) == (0, "")
    assert [path.name for path in their_var.iterdir()] == ["postgres"]


@as_root
def test_root_uses_an_ordinary_users_store_and_leaves_it_usable(their_var: Path, ordinary: dict[str, object]) -> None:
    """Both use the same data, one after the other and at once."""
    cluster = embedded.store(their_var)

    def add_a_row() -> str:
        answer(cluster, "CREATE TABLE IF NOT EXISTS kept (x int)")
        answer(cluster, "INSERT INTO kept VALUES (1)")
        return answer(cluster, "SELECT count(*) FROM kept")

    def theirs() -> subprocess.Popen[str]:
        process = python(HOLD, their_var, **ordinary)
        wait_for_line(process, "held\n")
        return process

    their_process = theirs()
    cluster = embedded.store(their_var)
    assert cluster.home == their_var / "postgres"
    assert add_a_row() == "1"
    with holder(their_var) as ours:
        their_process.communicate("go\n")
        assert add_a_row() == "2"
        ours.communicate("go\n")
    assert not cluster.running()
    with cluster.log.open("ab") as log:
        log.truncate(embedded.LOG_LIMIT + 1)
    with holder(their_var) as ours:
        assert add_a_row() == "3"
        their_process = theirs()
        ours.communicate("go\n")
        assert (ours.returncode, add_a_row()) == (0, "4")
    their_process.communicate("go\n")
    assert not cluster.running()
    their_process = theirs()
    assert add_a_row() == "5"
    their_process.communicate("go\n")
    owners = {path.stat().st_uid for path in cluster.data.rglob("*")}
    assert (their_process.returncode, owners) == (0, {NOBODY[0]})


@as_root
@pytest.mark.parametrize("readable", [True, False])
def test_root_becomes_the_owner_of_the_store(their_var: Path, ordinary: dict[str, object], readable: bool) -> None:
    """Root remains root if the owner cannot read the program: it could not import what it needs later."""
    process = python(HOLD, their_var, **ordinary)
    wait_for_line(process, "held\n")
    process.communicate("go\n")
    if not readable:
        ordinary["path"].chmod(0o700)
    code = """
        import os, sys
        from pathlib import Path
        from taifish import embedded
        var = Path(sys.argv[1])
        embedded.become_owner(var)
        embedded.hold(var)
        (var / "made").touch()
        print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ["HOME"])
    """
    process = python(code, their_var, **{key: ordinary[key] for key in ("path", "program", "cwd")})
    output = process.communicate()[0]
    assert process.returncode == 0, output
    uid, gid = NOBODY
    if readable:
        assert output == f"{(uid,) * 3} {(gid,) * 3} [] {pwd.getpwuid(uid).pw_dir}\n"
    else:
        assert output.startswith("(0, 0, 0) (0, 0, 0) ")
    assert (their_var / "made").stat().st_uid == (uid if readable else 0)


@as_root
def test_root_runs_data_of_a_user_without_a_name(folder: Path) -> None:
    cluster = Cluster(folder / "home")
    cluster.start()
    answer(cluster, "CREATE TABLE kept AS SELECT 42 AS x")
    cluster.stop()
    for path in (cluster.data, *cluster.data.rglob("*"), cluster.socket_dir):
        os.chown(path, 54321, 54321, follow_symlinks=False)
    cluster = Cluster(folder / "home")
    cluster.start()
    assert answer(cluster, "SELECT x FROM kept") == "42"


def test_the_data_folder_is_private(tmp_path):
    """What other users could read before is taken from them; what another user's store needs stays."""
    var = tmp_path / "new" / "var"
    embedded.keep_private(var)
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    var.chmod(0o755)
    (var / "postgres").mkdir()
    embedded.keep_private(var)
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    var.chmod(0o750)
    embedded.keep_private(var)
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        os.chown(var / "postgres", 12345, 12345)
        var.chmod(0o755)
        embedded.keep_private(var)
        assert stat.S_IMODE(var.stat().st_mode) == 0o711
        os.chown(var, 12345, 12345)
        var.chmod(0o755)
        embedded.keep_private(var)
        assert stat.S_IMODE(var.stat().st_mode) == 0o755
