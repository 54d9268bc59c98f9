"""Events as rows of files and as lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet

from .models import COLUMNS, Event

#: Rows that are read from the store at once.
CHUNK = 500


def as_rows(events: QuerySet[Event]) -> Iterator[list[Any]]:
    """The columns of each event as cells; values as JSON."""
    for event in events.iterator(CHUNK):
        yield [as_json(value) if type(value) is dict else value for value in values(event)]


def values(event: Event) -> list[Any]:
    return [event.at.isoformat() if name == "at" else getattr(event, name) for name in COLUMNS]


def as_dict(event: Event) -> dict[str, Any]:
    return dict(zip(COLUMNS, values(event), strict=True))


def as_json(value: Any) -> str:
    """JSON on one line, in ASCII: control and invisible characters of hostile names are escaped, DEL too."""
    return json.dumps(value, cls=DjangoJSONEncoder).replace("\x7f", "\\u007f")


def as_lines(events: Iterable[Event]) -> Iterator[str]:
    for event in events:
        yield as_json(as_dict(event))
