"""Forwarding of events as JSON lines, to standard output or syslog: each at least once, in the order of their ids.

Writers take a shared lock before they assign ids. Forwarding takes the lock exclusively and reads the greatest id: no
transaction can commit a smaller one later. It tries the lock and does not wait: waiting would block the writers.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, QuerySet

from .models import Event, Position
from .reading import as_dict, as_json

log = logging.getLogger(__name__)

#: The lock of the trail, as in its migration, and that of another table.
TRAIL_LOCK = "taifish audit trail"

#: Rows that are sent before the position is stored; how often and how long the lock is tried, in seconds.
BATCH, TRIES, PAUSE = 500, 50, 0.1
#: Seconds for connecting and for each write to syslog.
TIMEOUT = 10
#: Facility 13 (log audit), severity 5 (notice). https://www.rfc-editor.org/rfc/rfc5424#section-6.2.1
PRIORITY = 13 * 8 + 5
#: https://www.rfc-editor.org/rfc/rfc5425 and those of plain connections.
PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
#: Bytes of a datagram; a longer line is sent without values.
DATAGRAM = 60_000


@dataclass(frozen=True)
class Stream:
    """Rows to forward: their name, in order, and each as JSON. A trigger `audit_order` on the table takes the lock."""

    name: str
    lock: str
    rows: Callable[[], QuerySet[Any]]
    shown: Callable[[Any], dict[str, Any]]


TRAIL = Stream("audit", TRAIL_LOCK, Event.objects.all, as_dict)
#: More streams, of apps above.
STREAMS: list[Stream] = []


class ForwardError(Exception):
    """Lines could not be sent. The message names neither addresses nor content."""


def forward() -> int:
    """Send what is new in each stream. Returns the number of lines. Raises ForwardError."""
    target = settings.TAIFISH_AUDIT_FORWARD
    if not target:
        return 0
    chosen = [TRAIL, *(STREAMS if settings.TAIFISH_AUDIT_ACCOUNTS else [])]
    with lines_to(target) as send:
        return sum(_forward(stream, send) for stream in chosen)


def _forward(stream: Stream, send: Callable[[str], None]) -> int:
    position, is_new = Position.objects.get_or_create(stream=stream.name)
    last = _last_final(stream)
    if last is None:
        log.warning("%s: other transactions write; forwarding is tried again at the next run", stream.name)
        return 0
    if is_new and stream is not TRAIL:
        # Histories of years are not news.
        Position.objects.filter(pk=position.pk).update(last_id=last)
        return 0
    count = 0
    while batch := list(stream.rows().filter(pk__gt=position.last_id, pk__lte=last).order_by("pk")[:BATCH]):
        for row in batch:
            send(as_json({"stream": stream.name, **stream.shown(row)}))
        position.last_id = batch[-1].pk
        # Another forwarder may be ahead.
        Position.objects.filter(pk=position.pk, last_id__lt=position.last_id).update(last_id=position.last_id)
        count += len(batch)
    return count


def _last_final(stream: Stream) -> int | None:
    """The greatest id below which no row can appear any more; None if writers were always at work."""
    for _ in range(TRIES):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [stream.lock])
            if cursor.fetchone()[0]:
                return stream.rows().order_by().aggregate(last=Max("pk"))["last"] or 0
        time.sleep(PAUSE)
    return None


@contextmanager
def lines_to(target: str) -> Iterator[Callable[[str], None]]:
    """A function that sends one line to "stdout" or "syslog:…". Raises ForwardError, as the function does."""
    if target == "stdout":
        # Not sys.stdout, which workers redirect to their log.
        out = sys.__stdout__
        assert out is not None  # noqa: S101 -- a process has one
        yield lambda line: print(line, file=out, flush=True)
        return
    scheme, address = target.split(":", 1)[1].split("://", 1)
    try:
        with _socket(scheme, address) as connected:
            yield lambda line: _send(connected, scheme, line)
            if isinstance(connected, ssl.SSLSocket):
                # A socket that is closed while session tickets lie unread is reset, and the peer loses what it has not
                # read yet. This reads them. Some servers do not answer.
                with suppress(OSError):
                    connected.unwrap()
    except OSError as error:
        raise ForwardError(f"Syslog does not take the audit trail: {error.strerror or type(error).__name__}.") from None


def _socket(scheme: str, address: str) -> socket.socket:
    if scheme == "unix":
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.settimeout(TIMEOUT)
        made.connect(address)
        return made
    parts = urlsplit(f"//{address}")
    where = (parts.hostname or "", parts.port or PORTS[scheme])
    if scheme != "udp":
        made = socket.create_connection(where, TIMEOUT)
        # Trusts what the system trusts, or the file named by OpenSSL's SSL_CERT_FILE.
        return ssl.create_default_context().wrap_socket(made, server_hostname=where[0]) if scheme == "tls" else made
    family, kind, protocol, _, name = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
    made = socket.socket(family, kind, protocol)
    made.connect(name)
    return made


def _send(connected: socket.socket, scheme: str, line: str) -> None:
    """In a stream each message has its length before it. https://www.rfc-editor.org/rfc/rfc6587#section-3.4.1"""
    is_stream = scheme in ("tcp", "tls")
    if not is_stream and len(line) > DATAGRAM:
        line = as_json(json.loads(line) | {"before": None, "after": "too long for a datagram: see the audit trail"})
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = f"<{PRIORITY}>1 {now} {socket.gethostname() or '-'} taifish - audit - {line}".encode("ascii", "replace")
    connected.sendall(b"%d %s" % (len(message), message) if is_stream else message)
