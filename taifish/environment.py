"""Reading environment variables.

A value is in NAME or, for secrets mounted as files, in the file NAME_FILE. In embedded mode missing keys are generated
once and stored in the data folder.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from work.http import Allowed

#: Names of this machine.
LOCAL = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(r"(?!-)[A-Za-z0-9.-]*[A-Za-z][A-Za-z0-9.-]*")
_SYSLOG = re.compile(r"syslog:((udp|tcp|tls)://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?|unix:///\S+)")
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """NAME, or the contents of the file named by NAME_FILE, or the default. Raises ImproperlyConfigured."""
    if value := os.environ.get(name, ""):
        return value
    if path := os.environ.get(f"{name}_FILE", ""):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE is {path}, which cannot be read: {error.strerror}") from error
    return default


def flag(name: str, default: bool) -> bool:
    """A yes-or-no variable. Raises ImproperlyConfigured for any other word."""
    value = text(name).lower()
    if not value:
        return default
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to yes or no.")
    return value in TRUE


def one_of(name: str, default: str, *others: str) -> str:
    """One of some words; the first is the default. Raises ImproperlyConfigured."""
    value = text(name, default).lower()
    if value not in (default, *others):
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to {' or '.join((default, *others))}.")
    return value


def number(name: str, default: int, least: int, most: int) -> int:
    """A whole number within bounds. Raises ImproperlyConfigured."""
    value = text(name)
    if not value:
        return default
    if not value.isdecimal() or not least <= int(value) <= most:
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to a whole number from {least} to {most}.")
    return int(value)


def per_minute(name: str, default: int) -> str | None:
    """A number of requests per minute, in the format of REST framework; 0 means no limit and returns None."""
    count = number(name, default, 0, 1_000_000)
    return f"{count}/min" if count else None


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, without surrounding blanks."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def allowed(name: str) -> Allowed:
    """Host names, addresses and networks, separated by commas. Raises ImproperlyConfigured."""
    names, networks = set(), []
    for word in words(name):
        try:
            networks.append(ipaddress.ip_network(word, strict=False))
        except ValueError:
            if not HOST.fullmatch(word):
                raise ImproperlyConfigured(
                    f"{name} has {word!r}; write a host name, an address or a network such as 10.0.0.0/8."
                ) from None
            names.add(word.lower().rstrip("."))
    return Allowed(frozenset(names), tuple(networks))


def pairs(name: str, example: str) -> list[tuple[str, str]]:
    """A list of "this:that", separated by commas or, for names with commas, by lines. Raises ImproperlyConfigured."""
    value = text(name)
    found = []
    for entry in filter(str.strip, value.splitlines() if "\n" in value else value.split(",")):
        this, _, that = (part.strip() for part in entry.rpartition(":"))
        if not (this and that):
            raise ImproperlyConfigured(f"{name} has {entry.strip()!r}; write it as {example}.")
        found.append((this, that))
    return found


def https_url(name: str) -> str:
    """An address that may receive secrets: with HTTPS, or on this machine. Raises ImproperlyConfigured."""
    value = text(name)
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        host = None
    if value and not (host and (parts.scheme == "https" or (parts.scheme == "http" and host in LOCAL))):
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to an https:// address.")
    return value


def service_url(name: str) -> str:
    """The address of a service, which may hold a user and a password if it is HTTPS or on this machine. Raises
    ImproperlyConfigured, which quotes none of it."""
    value = text(name)
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_good = is_good and not (parts.query or parts.fragment) and value.isascii() and value.isprintable()
        is_safe = parts.scheme == "https" or parts.hostname in LOCAL or "@" not in parts.netloc
    except ValueError:
        is_good = False
    if value and not (is_good and " " not in value):
        raise ImproperlyConfigured(f"{name} is no URL such as https://host or http://user:password@localhost:9090.")
    if value and not is_safe:
        raise ImproperlyConfigured(f"{name} would send its password in clear text; set it to an https:// address.")
    return value


def destination(name: str) -> str:
    """Where lines go: "stdout", or "syslog:" with tls://, tcp://, udp:// or unix://. Raises ImproperlyConfigured."""
    value = text(name)
    if value in ("", "stdout") or _SYSLOG.fullmatch(value):
        return value
    raise ImproperlyConfigured(
        f"{name} is {value!r}; set it to stdout, syslog:tls://HOST:6514, syslog:tcp://HOST:601, syslog:udp://HOST:514 "
        "or syslog:unix:///dev/log."
    )


def pattern(name: str, needed_by: str) -> str:
    """A regular expression, which the setting named `needed_by` needs, if one is named. Raises ImproperlyConfigured."""
    value = text(name)
    if needed_by and not value:
        raise ImproperlyConfigured(f"{needed_by} is set, {name} is not.")
    try:
        re.compile(value)
    except re.error as error:
        raise ImproperlyConfigured(f"{name} is {value!r}, no regular expression: {error}.") from None
    return value


def kept_secret(name: str, path: Path, make: Callable[[], str], *, may_make: bool, hint: str) -> str:
    """The secret NAME (or NAME_FILE); if missing and `may_make`, one generated once into `path` with mode 0600.

    Processes that start at the same time get the same secret: only one can create the hard link to its complete file.
    Raises ImproperlyConfigured if the secret is missing and may not be generated.
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


def run_by_celery() -> bool:
    """Whether this process is `celery`, or `python -m celery`: a worker, or beat."""
    program = Path(sys.argv[0])
    return program.name == "celery" or (program.name, program.parent.name) == ("__main__.py", "celery")
