"""`manage.py backup` and `restore`, on real servers of several versions and on the embedded store."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from taifish import embedded
from taifish.tests.postgres import PostgresServer

PASSWORD = "Never-on-a-command-line-1"
KEY = Fernet.generate_key().decode()
OLDEST = 14
#: A name on a managed server that looks like the setting that is left out of old servers' scripts.
HOSTILE = "SET transaction_timeout = 0;"


class Store:
    """A database on a server, with a login, or the embedded store of a folder; and commands that use it."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder, self.url = folder, url

    def manage(self, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
        environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("TAIFISH_", "DATABASE", "PG"))
            },
            "TAIFISH_DATA_DIR": str(self.folder),
            "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
            # Without a URL, the store is embedded and the keys are generated.
            **(
                {"DATABASE_URL": self.url, "TAIFISH_SECRET_KEY": "s" * 60, "TAIFISH_CREDENTIAL_KEYS": key}
                if self.url
                else {}
            ),
        }
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True)

    def done(self, *arguments: str) -> str:
        found = self.manage(*arguments)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def fill(self) -> None:
        """Make the tables, and some rows."""
        self.done("migrate", "-v", "0")
        self.done(
            "shell", "-v", "0", "-c",
            "from instances.models import Credential, Instance\n"
            "c = Credential(name='c', username='u'); c.password = 'stored-secret'; c.save()\n"
            f"Instance.objects.create(name={HOSTILE!r}, host='h', engine='postgresql', credential=c, note={f'a{chr(10)}{HOSTILE}'!r})",
        )  # fmt: skip

    def contents(self) -> str:
        return self.done(
            "shell", "-v", "0", "-c",
            "from instances.models import Instance; i = Instance.objects.get(); print(repr((i.name, i.note, i.credential.password)))",
        )  # fmt: skip


#: What `fill` made, as `contents` prints it.
FILLED = f"{(HOSTILE, f'a{chr(10)}{HOSTILE}', 'stored-secret')!r}\n"


@pytest.fixture
def new_store(postgres_server, tmp_path) -> Callable[[int, str], Store]:
    """Makes empty databases, each with a login that owns it, on the servers of the tests."""
    made: list[tuple[PostgresServer, str]] = []

    def make(major: int, name: str = "taifish_backup") -> Store:
        server = postgres_server(major)
        server.fresh_database(name)
        server.execute(f"DROP ROLE IF EXISTS {name}_owner")
        server.execute(f"CREATE ROLE {name}_owner LOGIN PASSWORD %s", [PASSWORD])
        server.execute(f"ALTER DATABASE {name} OWNER TO {name}_owner")
        if major < 15:
            server.execute(f"ALTER SCHEMA public OWNER TO {name}_owner", database=name)
        made.append((server, name))
        return Store(tmp_path / "var", f"postgresql://{name}_owner:{PASSWORD}@127.0.0.1:{server.cluster.port}/{name}")

    yield make
    for server, name in made:
        server.drop_database(name)
        server.execute(f"DROP ROLE {name}_owner")


def test_a_store_of_the_oldest_version_is_restored_into_its_own_and_the_newest(new_store, tmp_path):
    """F11.1: pg_restore of 17 and newer writes a setting that older servers do not know; rows that look like it stay."""
    store, file = new_store(OLDEST), tmp_path / "taifish.dump"
    store.fill()
    told = store.done("backup", str(file))
    assert "TAIFISH_CREDENTIAL_KEYS, TAIFISH_SECRET_KEY. Without them" in told
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY.encode() not in file.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if "dump" in path.name] == [file.name]
    found = store.manage("backup", str(file))
    assert (found.returncode, "exists. Name a new file" in found.stderr) == (1, True), found.stderr
    for major in (OLDEST, 18):
        other = new_store(major, "taifish_restored")
        assert "Now run `manage.py migrate`" in other.done("restore", str(file))
        assert other.contents() == FILLED
        assert "No migrations to apply" in other.done("migrate")
    # Not empty any more.
    found = other.manage("restore", str(file))
    assert (found.returncode, "or repeat with --replace" in found.stderr) == (1, True), found.stderr
    found = other.manage("restore", "--replace", str(file), key=Fernet.generate_key().decode())
    assert (found.returncode, "do not decrypt 1 of the stored passwords" in found.stderr) == (3, True), found.stderr
    assert other.contents() == FILLED
    # A backup of the newest does not go back into the oldest.
    newer = tmp_path / "newer.dump"
    other.done("backup", str(newer))
    found = new_store(OLDEST, "taifish_older").manage("restore", str(newer))
    assert (found.returncode, "Restore it into a store of version 18" in found.stderr) == (1, True), found.stderr
    _refused_or_rolled_back(other, file, tmp_path)


def _refused_or_rolled_back(store: Store, file: Path, folder: Path) -> None:
    """A restoration that fails leaves the store as it was, and says why."""
    cut = folder / "cut.dump"
    cut.write_bytes(file.read_bytes()[:-300])
    text = folder / "text.dump"
    text.write_text("no dump")
    for bad, words in ((cut, "Nothing was restored"), (text, "is not a dump")):
        found = store.manage("restore", "--replace", str(bad))
        assert (found.returncode, words in found.stderr) == (1, True), found.stderr
        assert store.contents() == FILLED
    with psycopg2.connect(store.url):
        found = store.manage("restore", "--replace", str(file))
    assert (found.returncode, "1 other sessions use the store. Stop web" in found.stderr) == (1, True), found.stderr
    for refused in (found, store.manage("backup", str(folder / "nowhere" / "x"))):
        assert PASSWORD not in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.fixture
def folders() -> Iterator[Callable[[], Path]]:
    """Makes data folders of embedded stores, which are removed with their stores."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="taifish-test-", dir="/tmp")))
        made[-1].chmod(0o711)
        return made[-1]

    yield make
    for folder in made:
        cluster = embedded.store(folder)
        cluster.stop("immediate")
        shutil.rmtree(cluster.home, ignore_errors=True)
        shutil.rmtree(folder)


def test_the_embedded_store_moves_to_another_folder(folders, tmp_path):
    """As the docs advise: a new data folder, a copy of the keys, and the backup, which contains none."""
    store, file = Store(folders()), tmp_path / "taifish.dump"
    store.fill()
    keys = store.folder / "keys"
    told = store.done("backup", str(file))
    assert f"TAIFISH_CREDENTIAL_KEYS ({keys / 'credential_keys'})" in told
    assert not any(path.read_bytes().strip() in file.read_bytes() for path in keys.iterdir())
    moved = Store(folders())
    shutil.copytree(keys, moved.folder / "keys")
    moved.done("restore", str(file))
    assert moved.contents() == FILLED
    moved.done("migrate", "--check")
