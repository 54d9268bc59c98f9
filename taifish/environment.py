"""Reading the environment: one place, so that every variable behaves alike.

A value may come as NAME or, for secrets mounted as files, as NAME_FILE. In embedded mode keys that nobody gave
are made once and kept in the data folder.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """NAME, or the contents of the file named by NAME_FILE, or the default. Raises ImproperlyConfigured."""
    if value := os.environ.get(name, ""):
        return value
    if path := os.environ.get(f"{name}_FILE", ""):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE names {path}, which cannot be read: {error.strerror}") from error
    return default


def flag(name: str, default: bool) -> bool:
    """A yes-or-no variable. Raises ImproperlyConfigured for any other word."""
    value = text(name).lower()
    if not value:
        return default
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}; say yes or no.")
    return value in TRUE


def number(name: str, default: int, least: int, most: int) -> int:
    """A whole number within bounds. Raises ImproperlyConfigured."""
    value = text(name)
    if not value:
        return default
    if not value.isdecimal() or not least <= int(value) <= most:
        raise ImproperlyConfigured(f"{name} is {value!r}; give a whole number from {least} to {most}.")
    return int(value)


def per_minute(name: str, default: int) -> str | None:
    """A rate as REST framework has it, from a number of requests a minute; None, no limit, from 0."""
    count = number(name, default, 0, 1_000_000)
    return f"{count}/min" if count else None


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, blanks dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def pairs(name: str, example: str) -> list[tuple[str, str]]:
    """A list of "this:that", with commas or, as a name may have commas, line by line. Raises ImproperlyConfigured."""
    value = text(name)
    found = []
    for entry in filter(str.strip, value.splitlines() if "\n" in value else value.split(",")):
        this, _, that = (part.strip() for part in entry.rpartition(":"))
        if not (this and that):
            raise ImproperlyConfigured(f"{name} has {entry.strip()!r}; write it as {example}.")
        found.append((this, that))
    return found


def https_url(name: str) -> str:
    """An address that secrets may be sent to: by HTTPS, or on this machine. Raises ImproperlyConfigured."""
    value = text(name)
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        host = None
    is_local = host in ("localhost", "127.0.0.1", "::1")
    if value and not (host and (parts.scheme == "https" or (parts.scheme == "http" and is_local))):
        raise ImproperlyConfigured(f"{name} is {value!r}; give an https:// address.")
    return value


def kept_secret(name: str, path: Path, make: Callable[[], str], *, may_make: bool, hint: str) -> str:
    """The secret NAME (or NAME_FILE); where `may_make`, one made once into `path` with mode 0600.

    Two processes that start at once agree: the file appears whole, by a hard link that only one of them can make.
    Raises ImproperlyConfigured when there is none and none may be made.
    """
    if value := text(name):
        return value
    if not may_make:
        raise ImproperlyConfigured(f"{name} is not set. {hint}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(make() + "\n")
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="utf-8").strip()
