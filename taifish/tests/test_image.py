"""What goes into the image, and what into the repository: no secrets, no data."""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

#: Top-level folders that the image does not need.
LEFT_OUT = {".ci", "bench", "docs"}

#: What a working folder may hold that must not get out.
PRIVATE = [
    "secrets/database_password",
    "secrets/secret_key",
    ".env",
    ".env.production",
    "taifish/.env",
    "dump.sql",
    "taifish.dump",
    "dump.sql.gz",
    "accounts/dump.sql",
    "instances/secrets/ca.key",
    "var/keys/credential_keys",
    "var/pg/PG_VERSION",
    ".servers/mysql/my.cnf",
    ".git/config",
    ".venv/pyvenv.cfg",
    "notes.txt",
]


def pattern(line: str) -> re.Pattern[str]:
    """A line of .dockerignore without its "!", by https://docs.docker.com/build/concepts/context/#syntax: Go's
    filepath.Match, and "**" for any number of folders. What matches a folder matches all that is in it."""
    left, found = posixpath.normpath(line.strip()).lstrip("/"), ""
    while left:
        token = re.match(r"\*\*/?|\*|\?|\[\^?[^\]]*\]|\\?.", left)[0]
        left = left.removeprefix(token)
        if token.startswith("**"):
            found += "(.*/)?" if left else ".*"
        elif token in "*?":
            found += {"*": "[^/]*", "?": "[^/]"}[token]
        elif token.startswith("["):
            found += token
        else:
            found += re.escape(token.removeprefix("\\") or token)
    return re.compile(f"{found}(/.*)?", re.DOTALL)


def copied(files: Iterable[str], rules: str) -> set[str]:
    """Those of the files that `COPY . .` copies. The last line that matches a file decides."""
    lines = [line.strip() for line in rules.splitlines() if line.strip() and not line.startswith("#")]
    patterns = [(line.startswith("!"), pattern(line.removeprefix("!"))) for line in lines]
    kept = set()
    for file in files:
        is_kept = True
        for includes, rule in patterns:
            if rule.fullmatch(file):
                is_kept = includes
        if is_kept:
            kept.add(file)
    return kept


def missing(tracked: Iterable[str], rules: str) -> set[str]:
    """Files of the product that the image would lack: all that is tracked in folders, but tests and LEFT_OUT."""
    needed = {
        file
        for file in tracked
        if file == "manage.py"
        or ("/" in file and file.split("/")[0] not in LEFT_OUT and "tests" not in file.split("/")[:-1])
    }
    return needed - copied(needed, rules)


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("This is no clone: which files are the product's is not known.")
    # Whoever owns the folder: a build may run as somebody else.
    listed = subprocess.run(
        [git, "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    return [file for file in listed.stdout.decode().split("\0") if file]


RULES = (ROOT / ".dockerignore").read_text()


@pytest.mark.parametrize(
    ("line", "path", "matches"),
    [
        ("*", "a", True),
        ("*", "a/b", True),
        ("*/b", "a/b", True),
        ("*/b", "a/c/b", False),
        ("**/b", "b", True),
        ("**/b", "a/c/b/d", True),
        ("**/b", "a/cb", False),
        ("**/*.sql", "a/b/c.sql", True),
        ("**/.*", "a/.env", True),
        ("**/.*", "a/b.c", False),
        ("a/**", "a/b/c", True),
        ("/a/./b/", "a/b", True),
        ("te?t", "test", True),
        ("te?t", "te/t", False),
        ("[a-c].py", "b.py", True),
        ("a.py", "axpy", False),
    ],
)
def test_the_rules_are_read_as_docker_reads_them(line, path, matches):
    assert bool(pattern(line).fullmatch(path)) == matches


def test_the_last_rule_that_matches_decides():
    files = ["a/b", "a/c", "d"]
    assert copied(files, "# all\n*\n!a\na/c\n") == {"a/b"}
    assert copied(files, "a\n!a/c\n") == {"a/c", "d"}


def test_no_secret_gets_into_the_image():
    """Fault 12: neither keys nor the store nor anything else that lies about is copied."""
    assert copied(PRIVATE, RULES) == set()


def test_everything_of_the_product_gets_into_the_image(tracked):
    """Fault 12: also what is added later; a top-level folder that nobody allowed fails here."""
    assert missing(tracked, RULES) == set()
    assert missing([*tracked, "newapp/__init__.py"], RULES) == {"newapp/__init__.py"}
    assert missing(["manage.py"], "*") == {"manage.py"}


def test_no_test_gets_into_the_image(tracked):
    """Fault 12: nor what else the image does not run."""
    tops = {file.split("/")[0] for file in copied(tracked, RULES)}
    assert not tops & {*LEFT_OUT, "conftest.py", "Makefile", "compose.yaml"}
    assert not [file for file in copied(tracked, RULES) if "/tests/" in file]


def test_git_offers_no_secret_to_commit(tmp_path, tracked):
    """Fault 12: `git add .` takes neither secrets nor dumps, but a dump that a test needs."""
    wanted = ["accounts/models.py", "sync/tests/old_store.sql", "sync/tests/data/old_store.dump"]
    unwanted = [
        "secrets/secret_key", ".env", ".env.production", "taifish/.env", "dump.sql", "accounts/dump.sql", "taifish.dump",
        "dump.sql.gz", "var/keys/secret_key", ".venv/pyvenv.cfg", "sync/tests/__pycache__/store.cpython-313.pyc",
    ]  # fmt: skip
    for file in [*wanted, *unwanted]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.split()) == {".gitignore", *wanted}


def test_containers_are_confined():
    """Read-only roots, no capabilities, no new privileges, passwords from files, and store and broker without a way out."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert name == "prepare" or service["healthcheck"]["test"], name
        assert all(key.endswith("_FILE") for key in service.get("environment", {}) if "PASSWORD" in key), name
    assert compose["networks"]["back"] == {"internal": True}
    assert compose["services"]["store"]["networks"] == compose["services"]["broker"]["networks"] == ["back"]
    wanted = {secret for service in compose["services"].values() for secret in service.get("secrets", [])}
    assert wanted == compose["secrets"].keys()
    named = set(re.findall(r"^#   secrets/(\w+)", (ROOT / "compose.yaml").read_text(), re.MULTILINE))
    assert named == wanted


def test_images_are_held_by_digest():
    images = [
        *re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE),
        *(service["image"] for service in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()),
    ]
    assert len(images) > 4
    assert {image for image in images if not re.fullmatch(r"\S+:\S+@sha256:[0-9a-f]{64}", image)} == {"taifish"}


def test_packages_are_installed_by_version_and_hash():
    """Each list in locked/ is complete by itself, its versions are those of constraints.txt, and nothing lacks a hash."""
    constraints = set((ROOT / "constraints.txt").read_text().splitlines())
    lists = {path.stem: path.read_text().replace("\\\n", "").splitlines() for path in (ROOT / "locked").glob("*.txt")}
    assert lists.keys() == {"run", "test", "mysqlclient", "vault", "aws", "azure"}
    found = set()
    for lines in lists.values():
        for line in lines:
            package, *hashes = re.split(r"\s+--hash=", line)
            assert hashes, line
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value.strip()) for value in hashes), line
            found.add(package)
    assert found == constraints
    for use in ("Makefile", "Dockerfile", "docs/operators.md"):
        installs = re.findall(r"pip\b.* install .*|^LOCKED.*", (ROOT / use).read_text(), re.MULTILINE)
        assert any("--require-hashes" in line for line in installs), use
