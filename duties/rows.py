"""Conflicts as rows of files, commands and the API."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from .models import AcceptedConflict
from .services import Conflict, Found

HEADER = [
    *("pair", "person or account", "owner", "side", "duty", "instance", "account", "by", "accepted", "ticket"),
    *("accepted until", "not known"),
]


def lines(name: str, found: Found) -> Iterator[list[object]]:
    """One row for each account of a conflict and side, accepted ones last, then one for what is not known."""
    blank = [""] * (len(HEADER) - 2)
    for row in documents(found, [*found.conflicts, *found.accepted]):
        accepted = row["accepted"] or {"reason": "", "ticket": "", "ends_on": ""}
        for number, (side, label) in enumerate(zip(("first", "second"), found.sides, strict=True), 1):
            for one in row[side]:
                yield [
                    *(name, row["label"], row["owner_name"], number, label.label, one["instance_name"], one["account"]),
                    *(one["by"], accepted["reason"], accepted["ticket"], accepted["ends_on"] or "", ""),
                ]
    if found.error:
        yield [name, *blank, found.error]
    for instance, reason in found.unknown.items():
        yield [name, *blank[:4], instance.name, *blank[5:], reason]


def notes(found: Found) -> list[Any]:
    """What a file says above its rows."""
    first, second = found.sides
    return [
        ["first side", first.label],
        ["second side", second.label],
        ["conflicts", "" if found.error else len(found.conflicts)],
        ["accepted", "" if found.error else len(found.accepted)],
        ["accounts with one side and no owner", "" if found.error else found.without_owner],
        ["instances not known", len(found.unknown)],
        *(["note", text] for text in found.warnings),
    ]


def documents(found: Found, conflicts: Collection[Conflict]) -> list[dict[str, Any]]:
    """Each conflict as the API and the command say it."""
    paths = found.paths(conflicts)
    return [
        {
            "key": conflict.key,
            "label": conflict.label,
            "owner": conflict.owner and conflict.owner.pk,
            "owner_name": conflict.owner.name if conflict.owner else "",
            **{
                side: [
                    {
                        "id": one.pk,
                        "account": str(one),
                        "instance": one.instance_id,
                        "instance_name": one.instance.name,
                        "by": by.get(one.pk, ""),
                    }
                    for one in accounts
                ]
                for side, accounts, by in zip(("first", "second"), conflict.sides, paths, strict=True)
            },
            "accepted": conflict.accepted and as_dict(conflict.accepted),
        }
        for conflict in conflicts
    ]


def as_dict(accepted: AcceptedConflict) -> dict[str, Any]:
    return {
        "id": accepted.pk,
        "reason": accepted.reason,
        "ticket": accepted.ticket,
        "ends_on": accepted.ends_on and accepted.ends_on.isoformat(),
    }


def document(name: str, found: Found) -> dict[str, Any]:
    """The answer of the command as JSON."""
    first, second = found.sides
    return {
        "pair": name,
        "first": first.label,
        "second": second.label,
        "error": found.error,
        "warnings": found.warnings,
        "conflicts": documents(found, [*found.conflicts, *found.accepted]),
        "without_owner": None if found.error else found.without_owner,
        "unknown": [{"instance": instance.name, "reason": reason} for instance, reason in found.unknown.items()],
    }
