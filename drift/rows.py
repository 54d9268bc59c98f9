"""Deviations as rows of files, commands and the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext

from access.moments import iso
from console.files import Lines

from .compare import Compared, Deviation, Drift
from .models import AcceptedDeviation

HEADER = [
    *("instance", "account", "deviation", "kind", "database", "object", "item", "expected", "found"),
    *("accepted", "ticket", "accepted until", "not known", "last read", "read by session", "read depth"),
]


def lines(found: Drift) -> Iterator[list[object]]:
    """One row for each deviation, accepted ones last, and one for each instance without; each with its basis."""
    for one in found.compared:
        rows = list(of_instance(one))
        for row, accepted in rows:
            yield [one.instance.name, *_cells(row, accepted), *_basis(one)]
        if not rows:
            yield [one.instance.name, *[""] * 11, *_basis(one)]


def of_instance(one: Compared) -> Iterator[tuple[Deviation, AcceptedDeviation | None]]:
    yield from ((row, None) for row in one.deviations)
    yield from one.accepted


def notes(found: Drift) -> Lines:
    """What a file says above its rows."""
    counts = [["deviations", found.count], ["accepted", found.accepted], ["instances not known", found.unknown]]
    return [["reference", found.reference or gettext("not shown")], *counts]


def _cells(row: Deviation, accepted: AcceptedDeviation | None) -> list[object]:
    return [
        *(row.label, row.what, row.kind, row.database, row.scope, row.item),
        *(row.value(row.expected), row.value(row.found)),
        *((accepted.reason, accepted.ticket, accepted.ends_on or "") if accepted else ("", "", "")),
    ]


def _basis(one: Compared) -> list[object]:
    why = "; ".join(filter(None, [one.unknown, *one.parts]))
    return [why, iso(one.read.read_at), one.read.session, one.read.level]


def document(found: Drift) -> dict[str, Any]:
    """The answer of the command as JSON."""
    return {
        "reference": found.reference,
        "deviations": found.count,
        "accepted": found.accepted,
        "unknown": found.unknown,
        "instances": [
            {
                "instance": one.instance.name,
                "unknown": one.unknown,
                "parts_unknown": one.parts,
                "read_at": iso(one.read.read_at),
                "session": one.read.session,
                "level": one.read.level,
                "deviations": [as_dict(row, accepted) for row, accepted in of_instance(one)],
            }
            for one in found.compared
        ],
    }


def as_dict(row: Deviation, accepted: AcceptedDeviation | None) -> dict[str, Any]:
    return {
        "key": row.key,
        "what": row.what,
        "account": row.account,
        "host": row.host,
        "kind": row.kind,
        "database": row.database,
        "scope": row.scope,
        "item": row.item,
        "expected": row.expected,
        "found": row.found,
        "text": row.text,
        "accepted": accepted
        and {
            "id": accepted.pk,
            "reason": accepted.reason,
            "ticket": accepted.ticket,
            "ends_on": accepted.ends_on and accepted.ends_on.isoformat(),
        },
    }
