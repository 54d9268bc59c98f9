"""Read file systems from Prometheus, as node_exporter describes them. Knows no model.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import base64
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import Request

from engines.errors import scrub
from work.http import NoAnswer, fetch

#: Seconds to wait for the answer.
TIMEOUT = 30.0

#: Bytes of the answer; a file system takes less than 1,000.
LARGEST = 64 << 20

#: Characters of a mount point.
LONGEST = 140

SIZE, AVAILABLE = "node_filesystem_size_bytes", "node_filesystem_avail_bytes"

#: What to change after these statuses.
HINTS = {
    400: "Check TAIFISH_PROMETHEUS_MOUNTPOINT.",
    401: "Check user and password in TAIFISH_PROMETHEUS_URL.",
    403: "Check user and password in TAIFISH_PROMETHEUS_URL.",
    404: "Check TAIFISH_PROMETHEUS_URL.",
}


class ReadFailed(Exception):
    """Prometheus gave no complete answer."""


@dataclass(frozen=True)
class FileSystem:
    """Bytes of the file system at a mount point: in all, and available to users that are not root."""

    mountpoint: str
    size: int
    available: int


def read(url: str, label: str, mountpoint: str) -> dict[str, FileSystem | str]:
    """Return host → the file system whose mount point matches the regular expression, or a sentence that says why there
    is not exactly one. The value of `label` without port is the host, in lower case. Raises ReadFailed."""
    by_host: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    # One query, so that both figures are of the same time. As a string of PromQL, JSON escapes the same.
    names = json.dumps(f"{SIZE}|{AVAILABLE}")
    for series in _query(url, f"{{__name__=~{names},mountpoint=~{json.dumps(mountpoint, ensure_ascii=False)}}}"):
        labels = series["metric"]
        if host := without_port(labels.get(label, "")):
            by_host[host][labels["mountpoint"]].append(series)
    if not by_host:
        raise ReadFailed(
            f"It has no file system that TAIFISH_PROMETHEUS_MOUNTPOINT matches and that has the label {label}."
        )
    return {host: _only(mounts) for host, mounts in by_host.items()}


def without_port(address: str) -> str:
    """Return the host of "db1:9100", "[2001:db8::1]:9100" or "2001:db8::1", in lower case."""
    address = address.strip().lower()
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, port = address.rpartition(":")
    return host if colon and port.isdecimal() and ":" not in host else address


def _only(mounts: dict[str, list[dict[str, Any]]]) -> FileSystem | str:
    if len(mounts) > 1:
        names = ", ".join(sorted(mounts))
        return f"several file systems match TAIFISH_PROMETHEUS_MOUNTPOINT: {names}"
    ((mountpoint, found),) = mounts.items()
    if len(mountpoint) > LONGEST:
        return "its mount point is too long"
    if sorted(series["metric"]["__name__"] for series in found) != [AVAILABLE, SIZE]:
        return f"{mountpoint} has not one series of each {SIZE} and {AVAILABLE}"
    values = {series["metric"]["__name__"]: _bytes(series["value"][1]) for series in found}
    size, available = values[SIZE], values[AVAILABLE]
    if size is None or available is None or not 0 <= available <= size or not size:
        return f"the sizes of {mountpoint} are not plausible"
    return FileSystem(mountpoint, size, available)


def _bytes(text: str) -> int | None:
    value = float(text)
    return int(value) if math.isfinite(value) and 0 <= value < 2**63 else None


def _query(url: str, query: str) -> list[dict[str, Any]]:
    """Return the series of an instant query, checked for their form. Raises ReadFailed."""
    request, secrets = _request(url, query)
    try:
        answer = fetch(request, TIMEOUT, LARGEST + 1)
    except NoAnswer as error:
        raise ReadFailed(f"{error} {HINTS.get(error.status or 0, '')}".strip()) from None
    if len(answer) > LARGEST:
        size = f"Its answer is larger than {LARGEST >> 20} MiB."
        raise ReadFailed(f"{size} Let TAIFISH_PROMETHEUS_MOUNTPOINT match fewer file systems.")
    try:
        document = json.loads(answer)
        if document["status"] != "success" or document["data"]["resultType"] != "vector":
            raise ValueError
        found = document["data"]["result"]
        for series in found:
            labels = series["metric"]
            _check(*labels.values(), labels["mountpoint"], labels["__name__"])
            float(series["value"][1])
        warnings = document.get("warnings") or []
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise ReadFailed("It answered, but not like Prometheus. Check TAIFISH_PROMETHEUS_URL.") from None
    if warnings:
        # Thanos and others answer with what they have, and warn of what is missing.
        text = scrub(ascii(warnings), secrets)
        raise ReadFailed(f"It answered only in part: {text[:200]}")
    return found


def _check(*texts: Any) -> None:
    """Raise ValueError for a label that is no text, or none that the store takes: with NUL or half a character."""
    for text in texts:
        if not isinstance(text, str) or b"\0" in text.encode():
            raise ValueError


def _request(url: str, query: str) -> tuple[Request, list[str]]:
    """Return the request, with user and password in a header instead of the URL, and what must not be quoted."""
    parts = urlsplit(url)
    login, at, address = parts.netloc.rpartition("@")
    headers = {"Accept": "application/json", "User-Agent": "Taifish"}
    secrets = []
    if at:
        user, _, password = (unquote(part) for part in login.partition(":"))
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        secrets = [password, headers["Authorization"].removeprefix("Basic ")]
    path = f"{parts.path.rstrip('/')}/api/v1/query"
    plain = urlunsplit((parts.scheme, address, path, urlencode({"query": query}), ""))
    return Request(plain, headers=headers), secrets  # noqa: S310 -- taifish.environment.service_url
