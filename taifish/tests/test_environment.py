"""Settings come from the environment, and a missing one stops the start in words that say what to do."""

from __future__ import annotations

import multiprocessing
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from taifish import embedded, environment

ROOT = Path(environment.__file__).resolve().parents[1]
URL = "postgresql://taifish:Hidden-1@127.0.0.1:1/taifish"


def check(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`manage.py check` as a deploy runs it: nothing in the environment but what is given."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", "check", *arguments],
        cwd=ROOT,
        env=clean | {"TAIFISH_DATA_DIR": str(tmp_path / "var")} | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_value_or_a_file_or_the_default(monkeypatch, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    assert environment.text("TAIFISH_X", "default") == "default"
    monkeypatch.setenv("TAIFISH_X_FILE", str(secret))
    assert environment.text("TAIFISH_X", "default") == "from-file"
    monkeypatch.setenv("TAIFISH_X", "direct")
    assert environment.text("TAIFISH_X", "default") == "direct"


def test_a_file_that_cannot_be_read_is_an_error_not_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("TAIFISH_X_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(ImproperlyConfigured, match=r"TAIFISH_X_FILE is .*nowhere, which cannot be read: No such"):
        environment.text("TAIFISH_X", "default")


@pytest.mark.parametrize(
    ("value", "expected"), [("yes", True), ("TRUE", True), ("1", True), ("off", False), ("0", False), ("", True)]
)
def test_yes_or_no(monkeypatch, value, expected):
    monkeypatch.setenv("TAIFISH_X", value)
    assert environment.flag("TAIFISH_X", default=True) is expected


def test_maybe_is_neither(monkeypatch):
    monkeypatch.setenv("TAIFISH_X", "maybe")
    with pytest.raises(ImproperlyConfigured, match="TAIFISH_X is 'maybe'; set it to yes or no"):
        environment.flag("TAIFISH_X", default=True)


@pytest.mark.parametrize("value", ["0", "11", "-1", "1.5", "many", "²"])
def test_a_number_out_of_bounds_is_refused(monkeypatch, value):
    monkeypatch.setenv("TAIFISH_X", value)
    with pytest.raises(ImproperlyConfigured, match="set it to a whole number from 1 to 10"):
        environment.number("TAIFISH_X", 5, 1, 10)


def test_words_are_split_at_commas(monkeypatch):
    monkeypatch.setenv("TAIFISH_X", " a.example , ,[::1],")
    assert environment.words("TAIFISH_X") == ["a.example", "[::1]"]
    assert environment.words("TAIFISH_Y", "localhost") == ["localhost"]


def keep(path: Path) -> str:
    def make() -> str:
        time.sleep(0.05)
        return secrets.token_hex(16)

    return environment.kept_secret("TAIFISH_X", path, make, may_make=True, hint="")


def test_a_key_is_made_once_however_many_start_at_once(tmp_path):
    path = tmp_path / "keys" / "x"
    with multiprocessing.get_context("fork").Pool(8) as pool:
        kept = pool.map(keep, [path] * 16, chunksize=1)
    assert len(set(kept)) == 1
    assert kept[0] == path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["x"]


@pytest.mark.parametrize("missing", ["TAIFISH_SECRET_KEY", "TAIFISH_CREDENTIAL_KEYS"])
def test_outside_embedded_mode_a_missing_key_stops_the_start(tmp_path, missing):
    keys = {"TAIFISH_SECRET_KEY": "x" * 60, "TAIFISH_CREDENTIAL_KEYS": Fernet.generate_key().decode()}
    del keys[missing]
    done = check(tmp_path, DATABASE_URL=URL, **keys)
    assert done.returncode == 1
    assert done.stderr.startswith(f"taifish: {missing} is not set. Make one: python -c ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var" / "keys").exists()


def test_keys_may_come_from_files(tmp_path):
    (tmp_path / "secret").write_text("x" * 60 + "\n")
    (tmp_path / "keys").write_text(Fernet.generate_key().decode() + "\n")
    done = check(
        tmp_path,
        DATABASE_URL=URL,
        TAIFISH_SECRET_KEY_FILE=str(tmp_path / "secret"),
        TAIFISH_CREDENTIAL_KEYS_FILE=str(tmp_path / "keys"),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_in_embedded_mode_keys_are_made_and_kept(tmp_path):
    assert check(tmp_path).returncode == 0
    made = {file.name: file.read_text() for file in (tmp_path / "var" / "keys").iterdir()}
    assert made.keys() == {"secret_key", "credential_keys"}
    assert {stat.S_IMODE((tmp_path / "var" / "keys" / name).stat().st_mode) for name in made} == {0o600}
    assert check(tmp_path).returncode == 0
    assert {file.name: file.read_text() for file in (tmp_path / "var" / "keys").iterdir()} == made


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"DATABASE_URL": "postgresql://taifish:Hidden-1@db:port/taifish"}, "DATABASE_URL is invalid"),
        ({"DATABASE_URL": "mysql://taifish:Hidden-1@db/taifish"}, "DATABASE_URL is not a PostgreSQL"),
        ({"TAIFISH_TIME_ZONE": "Shanghai"}, "TAIFISH_TIME_ZONE is 'Shanghai'; set it to a name such as Asia/Shanghai"),
        ({"TAIFISH_VISITS_PER_HOST": "0"}, "TAIFISH_VISITS_PER_HOST is '0'; set it to a whole number from 1 to 100."),
        ({"TAIFISH_DEBUG": "perhaps"}, "TAIFISH_DEBUG is 'perhaps'; set it to yes or no."),
    ],
)
def test_a_mistake_is_told_in_a_line_without_secrets(tmp_path, variables, told):
    done = check(tmp_path, **variables)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith(f"taifish: {told}")
    assert "Hidden-1" not in done.stderr


def test_the_docs_document_every_variable():
    """Each variable that the code reads has a row in the table of docs/settings.md, and no row is about one it does not."""
    read = set()
    for path in (ROOT / "taifish").rglob("*.py"):
        if "tests" not in path.parts:
            code = path.read_text()
            read |= set(
                re.findall(
                    r'(?:text|flag|number|pattern|per_minute|words|pairs|https_url|service_url|allowed|destination|one_of|kept_secret|environ\.get)\(\s*"([A-Z_]+)"',
                    code,
                )
            )
            read |= set(re.findall(r'^[A-Z_]+ = "(TAIFISH_[A-Z_]+)"', code, re.MULTILINE))
    rows = [
        line.split("|")[1]
        for line in (ROOT / "docs" / "settings.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    # PATH is the system's.
    assert {name for row in rows for name in re.findall(r"`([A-Z_]{6,})`", row)} == read - {"PATH"}


def forget_store(folder: Path) -> None:
    """Root's stores lie outside of the folders that pytest takes away."""
    store = embedded.store(folder)
    store.stop()
    shutil.rmtree(store.home, ignore_errors=True)


def test_a_check_of_the_store_wakes_the_embedded_one(tmp_path):
    try:
        found = check(tmp_path, "--database", "default")
    finally:
        forget_store(tmp_path / "var")
    assert (found.returncode, found.stderr) == (0, ""), found.stderr
    assert "no issues" in found.stdout


def test_a_store_that_does_not_answer_is_told_in_words(tmp_path):
    keys = {"TAIFISH_SECRET_KEY": "s" * 60, "TAIFISH_CREDENTIAL_KEYS": Fernet.generate_key().decode()}
    found = check(tmp_path, "--database", "default", DATABASE_URL=URL, **keys)
    assert found.returncode == 1
    assert "taifish: the store does not answer: " in found.stderr
    assert "correct DATABASE_URL" in found.stderr
    assert "Traceback" not in found.stderr
    assert "Hidden-1" not in found.stderr
