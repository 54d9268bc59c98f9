"""The evidence pack of a sealed campaign: a signed ZIP file, made while it is sent.

Its texts are English, whoever downloads it, and what it says is what was so when the campaign was sealed: two packs of
a campaign say the same.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext

from console.csv import csv_lines
from engines.statements import printable
from work.days import local_time

from . import keys, services, stamping
from .models import Campaign, Decision, Item, Observation
from .verification import KEY, LENGTH, MANIFEST, SIGNATURE, STAMP, signed

Row = dict[str, Any]

#: Rows of a table in the report; the CSV files have all.
SHOWN = 1000
#: Rows of JSON that are written at once.
CHUNK = 200
#: Bytes of a pack that are sent at once.
PIECE = 1 << 16


class _Sink:
    """Takes what is written, to be given on in pieces."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def name_of(campaign: Campaign) -> str:
    return f"review-{campaign.pk}-{local_time(campaign.sealed_at):%Y%m%d}.zip"


def pack(campaign: Campaign) -> Iterator[bytes]:
    """Return the pieces of the ZIP file. Raises CampaignError if the campaign is not sealed, and StampError if it needs
    a time stamp and gets none."""
    if campaign.state != Campaign.State.SEALED:
        raise services.CampaignError(gettext("The campaign is not sealed yet."))
    if not stamping.has_stamp(campaign):
        return _pack(campaign)
    # Made before the first byte is sent: the stamp needs the manifest, which is at the end, and may fail.
    whole = TemporaryFile()  # noqa: SIM115 -- closed with the last piece
    try:
        whole.writelines(_pack(campaign, has_stamp=True))
    except BaseException:
        whole.close()
        raise
    whole.seek(0)
    return _pieces(whole)


def _pieces(whole: IO[bytes]) -> Iterator[bytes]:
    with whole:
        while piece := whole.read(PIECE):
            yield piece


def _pack(campaign: Campaign, *, has_stamp: bool = False) -> Iterator[bytes]:
    stored = keys.stored()
    key, sink, whole = keys.private(stored), _Sink(), hashlib.sha256()
    listed: dict[str, Row] = {}

    def add(name: str, texts: Iterator[str | bytes]) -> Iterator[bytes]:
        digest, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(name, local_time(campaign.sealed_at).timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        with file.open(info, "w", force_zip64=True) as entry:
            for text in _in_english(texts):
                data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
                digest.update(data)
                size += len(data)
                entry.write(data)
                yield sink.take()
        listed[name] = {"sha256": digest.hexdigest(), "bytes": size}
        yield sink.take()

    def pieces() -> Iterator[bytes]:
        for name, texts in _files(campaign, stored.public):
            yield from add(name, texts)
        manifest = {
            "format": 1,
            "campaign": campaign.name,
            "product": f"Taifish {campaign.version}",
            "sealed_at": _iso(campaign.sealed_at),
            "key": stored.public,
            "files": dict(listed),
        }
        if has_stamp:
            # So that a pack without it is not as it was made.
            manifest["time_stamp"] = STAMP
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        yield from add(MANIFEST, iter([text]))
        yield from add(SIGNATURE, iter([key.sign(text.encode()).hex()]))
        if has_stamp:
            yield from add(STAMP, iter([stamping.token_of(campaign, text.encode())]))

    with zipfile.ZipFile(sink, "w") as file:
        file.comment = b"0" * LENGTH
        for piece in pieces():
            whole.update(piece)
            if piece:
                yield piece
    end = sink.take()[:-LENGTH]
    whole.update(end)
    yield end + key.sign(signed(whole.digest())).hex().encode()


def _in_english(texts: Iterator[str | bytes]) -> Iterator[str | bytes]:
    """Make the pieces in English, whatever the language is in between."""
    while True:
        with translation.override("en"):
            text = next(texts, None)
        if text is None:
            return
        yield text


def _iso(at: datetime | None) -> str:
    return local_time(at).isoformat(timespec="seconds") if at else ""


def _files(campaign: Campaign, key: str) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield each file with the pieces of its text."""
    yield KEY, iter([f"{key}\n"])
    yield "campaign.json", iter([json.dumps(about(campaign), indent=1, ensure_ascii=False)])
    for name, rows in TABLES.items():
        yield f"{name}.csv", _csv(rows(campaign))
        yield f"{name}.json", _json(rows(campaign))
    yield "report.html", report(campaign)


def _csv(rows: Iterator[Row]) -> Iterator[str]:
    first = next(rows, None)
    if first is None:
        return iter(["\ufeff"])

    def cells() -> Iterator[list[Any]]:
        yield [*map(_cell, first.values())]
        for row in rows:
            yield [*map(_cell, row.values())]

    return _after("\ufeff", csv_lines(list(first), cells()))


def _after(first: str, pieces: Iterator[str]) -> Iterator[str]:
    yield first
    yield from pieces


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _json(rows: Iterator[Row]) -> Iterator[str]:
    before = "["
    while chunk := list(islice(rows, CHUNK)):
        yield "".join([before, "\n", ",\n".join(json.dumps(row, ensure_ascii=False) for row in chunk)])
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def about(campaign: Campaign) -> Row:
    """What the campaign was about, and who acknowledged it."""
    return {
        "campaign": campaign.name,
        "product": f"Taifish {campaign.version}",
        "scope": campaign.scope_text,
        "query": campaign.query_text,
        "reviewers": {"owner": "owners of accounts", "tag": "by tag", "named": "named"}[campaign.by],
        "due": campaign.due_on.isoformat(),
        "frozen_at": _iso(campaign.frozen_at),
        "closed_at": _iso(campaign.closed_at),
        "acknowledged_by": campaign.acknowledged_name,
        "acknowledged_at": _iso(campaign.acknowledged_at),
        "acknowledgement": campaign.acknowledged_text,
        "sealed_at": _iso(campaign.sealed_at),
        "previous_campaign": str(campaign.previous or ""),
        "note": campaign.note,
        "time_zone": timezone.get_default_timezone_name(),
    }


def instances(campaign: Campaign) -> Iterator[Row]:
    for one in campaign.instances.order_by("name", "pk").iterator(2000):
        yield {
            "instance": one.name,
            "engine": one.engine,
            "result": "unknown" if one.is_unknown else "read",
            "last_read": _iso(one.read_at),
            "session": one.session,
            "read_depth": one.level,
            "not_current": one.stale,
            "not_readable": one.unread,
            "beyond_the_read_depth": one.beyond,
            "not_known": one.unknown,
            "maintained_by_the_engine_and_left_out": one.n_left_out,
        }


def _items(campaign: Campaign) -> QuerySet[Item]:
    """The items with what had been observed when the campaign was sealed."""
    observed = Observation.objects.filter(item=OuterRef("pk"), at__lte=campaign.sealed_at).order_by("-pk")
    rows = Item.objects.filter(campaign=campaign).with_last_decision().with_previous()
    return (
        rows.annotate(
            is_gone=Subquery(observed.values("gone")[:1]),
            observed_at=Subquery(observed.values("at")[:1]),
            observed_in=Subquery(observed.values("session")[:1]),
        )
        .select_related("place", "reviewer")
        .order_by("place__name", "account_label", "pk")
    )


def _item(item: Item) -> Row:
    return {
        "item": item.pk,
        "instance": item.place.name,
        "engine": item.place.engine,
        "account": item.account_label,
        "owner": item.owner_name,
        "what": item.what,
        "right": item.right,
        "path": [" ← ".join(link["text"] for link in reversed(path)) for path in item.chain],
        "since": _iso(item.since),
        "held_since": _iso(item.held_since),
        "days_held": item.days_held,
        "days_held_is": {None: "", True: "at least", False: "exact"}[item.is_at_least],
        "extent": item.extent,
        "usable": item.usable,
        "risk": item.risk,
        "not_observed_since": _iso(item.unobserved_since),
        "reviewer": item.reviewer.get_username() if item.reviewer else "",
        "decision": item.verdict or "none",
        "reason": item.reason or "",
        "decided_by": item.decided_by or "",
        "decided_at": _iso(item.decided_at),
        "observed": {None: "", True: "gone", False: "there again"}[item.is_gone],
        "observed_at": _iso(item.observed_at),
        "observed_in_session": item.observed_in,
        "previous_decision": "not in it" if item.previous_verdict is None else item.previous_verdict or "none",
    }


def items(campaign: Campaign) -> Iterator[Row]:
    for item in _items(campaign).iterator(2000):
        yield _item(item)


def decisions(campaign: Campaign) -> Iterator[Row]:
    rows = Decision.objects.filter(item__campaign=campaign).order_by("pk").select_related("item__place")
    for one in rows.iterator(2000):
        yield {
            "decision": one.verdict,
            "item": one.item_id,
            "instance": one.item.place.name,
            "account": one.item.account_label,
            "right": one.item.right,
            "reason": one.reason,
            "by": one.by_name,
            "at": _iso(one.at),
            "bulk": str(one.bulk or ""),
            "items_at_once": one.bulk_size,
            "seconds": one.seconds,
        }


def revocations(campaign: Campaign) -> Iterator[Row]:
    """What visits saw of what was to be revoked, up to the seal."""
    rows = Observation.objects.filter(item__campaign=campaign, at__lte=campaign.sealed_at).order_by("pk")
    for one in rows.select_related("item__place").iterator(2000):
        yield {
            "item": one.item_id,
            "instance": one.item.place.name,
            "account": one.item.account_label,
            "right": one.item.right,
            "seen": "gone" if one.gone else "there again",
            "session": one.session,
            "at": _iso(one.at),
        }


def exceptions(campaign: Campaign) -> Iterator[Row]:
    """What is not settled: items without a decision, to be changed, or to be revoked and not seen gone."""
    not_gone = Q(verdict=Decision.Verdict.REVOKE) & (Q(is_gone=None) | Q(is_gone=False))
    for item in _items(campaign).filter(Q(verdict__in=["", "change"]) | not_gone).iterator(2000):
        why = {"": "no decision", "change": "to be changed"}.get(item.verdict, "to be revoked, not seen gone")
        yield {"exception": why, **_item(item)}


def delegations(campaign: Campaign) -> Iterator[Row]:
    for one in campaign.delegations.order_by("pk"):
        yield {
            "from": one.from_name,
            "to": one.to_name,
            "by": one.by_name,
            "items": one.n_items,
            "reason": one.reason,
            "at": _iso(one.at),
        }


def differences(campaign: Campaign) -> Iterator[Row]:
    found = services.differences(campaign) or {}
    for change, rows in found.items():
        for item in rows.select_related("place").order_by("place__name", "account_label", "pk").iterator(2000):
            yield {
                "difference": change,
                "instance": item.place.name,
                "account": item.account_label,
                "what": item.what,
                "right": item.right,
                "decision": item.verdict or "none",
            }


TABLES: dict[str, Callable[[Campaign], Iterator[Row]]] = {
    "instances": instances,
    "items": items,
    "decisions": decisions,
    "revocations": revocations,
    "exceptions": exceptions,
    "delegations": delegations,
    "differences": differences,
}


def report(campaign: Campaign) -> Iterator[str]:
    """Yield the report, one table at a time: HTML that needs nothing else and runs nothing."""
    counts = dict(campaign.items.order_by().values_list("verdict").annotate(n=Count("pk")))
    head = {
        "about": [(name.replace("_", " "), value) for name, value in about(campaign).items()],
        "counts": [(verdict or "no decision", n) for verdict, n in sorted(counts.items())],
        "n_items": sum(counts.values()),
    }
    yield render_to_string("reviews/report_head.html", head)
    for name, rows in TABLES.items():
        yield from _table(name, rows(campaign))
    yield render_to_string("reviews/report_foot.html")


def _table(name: str, rows: Iterator[Row]) -> Iterator[str]:
    shown = [row for row, _n in zip(rows, range(SHOWN), strict=False)]
    context = {
        "name": name,
        "header": [column.replace("_", " ") for column in shown[0]] if shown else [],
        "rows": [[_shown(value) for value in row.values()] for row in shown],
        "is_cut": next(rows, None) is not None,
    }
    yield render_to_string("reviews/report_table.html", context)


def _shown(value: Any) -> str:
    values: Iterable[Any] = value if isinstance(value, list) else ["" if value is None else value]
    return printable("; ".join(map(str, values)))
