"""The answer to "who can" as CSV and XLSX, with the question and what the answer stands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext

from accounts.evidence import granted_by
from accounts.freshness import LastRead
from accounts.models import Account, Grant
from console.csv import csv_file
from console.xlsx import xlsx_file

from .asking import Answered
from .moments import iso
from .questions import Access, Effective
from .wording import by_database, question, usable, usable_at_once

#: Columns with the basis of a row.
READ_COLUMNS = ["last read", "read by session", "read depth"]

_ROW = ["instance", "account", "through", "right", "usable", "only columns", "since", "session", "not observed since"]
_ROW += ["granted by", "evidence"]
_COVERAGE = [
    "not known",
    "object is absent",
    *READ_COLUMNS,
    "left out by the depth",
    "could not be read",
    "failed visits since",
]
_COVERAGE += ["last failure", "paused since", "retired"]
_ASKED = ["question", "as of", "time zone", "asked at", "asked by"]


def as_csv(answered: Answered, by: str) -> HttpResponse:
    """Return one row for each chain, and one for each instance without; each with the question and its coverage."""
    return csv_file(_name(answered), *as_rows(answered, by))


def as_rows(answered: Answered, by: str) -> tuple[list[str], Iterator[list[object]]]:
    """Return the header and the rows of `as_csv`."""
    asked = list(_asked(answered, by).values())
    rows = ([*cells, *_coverage(answered, read), *asked] for cells, read in _lines(answered, every_instance=True))
    return [*_ROW, *_COVERAGE, *_ASKED], rows


def as_xlsx(answered: Answered, by: str) -> HttpResponse:
    """Return a workbook: the question, the chains, the coverage of each instance."""
    asked = {**_asked(answered, by), **{"note": "\n".join(answered.warnings)}}
    details = answered.asked
    words = {
        "privilege": details.privilege,
        "on": answered.on,
        "kind": details.kind,
        "instance": ", ".join(details.instance),
        "tag": details.tag,
        "engine": details.engine,
    }
    answer = answered.answer
    counts = {"chains": len(answer.rows), "instances": len(answer.reads), "instances not known": len(answer.unknown)}
    return xlsx_file(
        _name(answered),
        {
            "Question": (["", ""], [list(pair) for pair in {**asked, **words, **counts}.items()]),
            "Accounts": (_ROW, (cells for cells, _read in _lines(answered, every_instance=False))),
            "Coverage": (
                ["instance", "engine", *_COVERAGE],
                (
                    [read.instance.name, read.instance.engine, *_coverage(answered, read)]
                    for read in answer.reads.values()
                ),
            ),
        },
    )


def effective_as_file(
    account: Account, rights: Effective, rows: Iterable[Mapping[str, Any]], by: str, *, xlsx: bool = False
) -> HttpResponse:
    """Return one row for each right, with the moment and what the answer stands on, as CSV or XLSX."""
    name = f"effective-{account.pk}-{timezone.localtime(rights.at):%Y%m%dT%H%M}"
    found = effective_as_rows(account, rights, rows, by)
    return xlsx_file(name, {"Rights": found}) if xlsx else csv_file(name, *found)


def effective_as_rows(
    account: Account, rights: Effective, rows: Iterable[Mapping[str, Any]], by: str
) -> tuple[list[str], Iterator[list[object]]]:
    """Return the header and the rows of `effective_as_file`."""
    read = rights.read
    not_known = " ".join(filter(None, [read.reason, by_database() if rights.by_database else ""]))
    basis = [not_known, *read_cells(read), ", ".join(read.beyond), "; ".join(read.gap_messages)]
    asked = [iso(rights.at), timezone.get_current_timezone_name(), iso(timezone.now()), by]
    header = ["instance", "account", "through", "right", "kind", "on", "privilege", "usable", "since", "granted by"]
    header += ["evidence", "not known", *READ_COLUMNS, "left out by the depth", "could not be read", *_ASKED[1:]]
    natures = (
        [
            *(account.instance.name, account, " → ".join(map(str, nature.path)), gettext("without a grant")),
            *(kind, "*", privilege, usable_at_once(nature.at_once), "", "", ""),
        ]
        for nature in rights.natures()
        for kind, privileges in nature.powers.items()
        for privilege in sorted(privileges)
    )
    cells = (
        [
            *(account.instance.name, account, " → ".join(row["path"]), row["grant"], row["grant"].kind),
            *(row["grant"].scope, row["grant"].privilege, row["use"], iso(row["since"])),
            *(granted_by(row["grant"].grantors), " | ".join(link.words for link in row["links"])),
        ]
        for row in rows
    )
    return header, ([*one, *basis, *asked] for one in chain(cells, natures))


def _name(answered: Answered) -> str:
    return f"who-can-{timezone.localtime(answered.answer.at):%Y%m%dT%H%M}"


def _asked(answered: Answered, by: str) -> dict[str, object]:
    values = [
        question(answered),
        iso(answered.answer.at),
        timezone.get_current_timezone_name(),
        iso(timezone.now()),
        by,
    ]
    return dict(zip(_ASKED, values, strict=True))


def _lines(answered: Answered, *, every_instance: bool) -> Iterator[tuple[list[object], LastRead]]:
    answer = answered.answer
    named: set[int] = set()
    for row in answer.rows:
        named.add(row.account.instance_id)
        yield _cells(row), answer.reads[row.account.instance_id]
    for grant in answer.taken_away:
        named.add(grant.account.instance_id)
        yield _taken(grant), answer.reads[grant.account.instance_id]
    if every_instance:
        for read in answer.reads.values():
            if read.instance.pk not in named:
                yield [read.instance.name, *[""] * (len(_ROW) - 1)], read


def _cells(row: Access) -> list[object]:
    return [
        row.account.instance.name,
        row.account,
        " → ".join(str(role) for role in row.path),
        row.grant or gettext("by its nature"),
        usable(row),
        ", ".join(row.columns),
        iso(row.since),
        row.session,
        row.grant and iso(row.grant.unobserved_since),
        row.grant and granted_by(row.grant.grantors),
        " | ".join(link.words for link in row.links),
    ]


def _taken(grant: Grant) -> list[object]:
    cells = [grant.account.instance.name, grant.account, "", grant, gettext("taken away"), "", iso(grant.held_since)]
    return [*cells, *[""] * (len(_ROW) - len(cells))]


def _coverage(answered: Answered, read: LastRead) -> list[object]:
    return [
        answered.answer.unknown.get(read.instance, ""),
        "yes" if read.instance in answered.absent else "",
        *read_cells(read),
        ", ".join(read.beyond),
        "; ".join(read.gap_messages),
        read.failures,
        " ".join(filter(None, [iso(read.failed_at), read.error_code])),
        iso(read.paused_at),
        iso(read.retired_at),
    ]


def read_cells(read: LastRead) -> list[object]:
    """Return the values of READ_COLUMNS."""
    return [iso(read.read_at), read.session, read.level]
