"""Facts that stay rows until somebody looks at them: most visits find nothing new, and need only know that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeVar, overload

Item = TypeVar("Item")

#: Raise this by one when other facts are made of the same rows, or the same facts are stored differently: then the next
#: visit of each instance compares everything again. Otherwise what it stored before stays until its rows change.
VERSION = 1


class Derived(Sequence[Item]):
    """What `make(*answers)` returns, made when first looked at.

    `make` is a function of a module, and its arguments are all that it goes by: no clock, no connection, no state. Then
    what has the same `fingerprint` has the same items. For the arguments see `fingerprint_of`; nobody may change them
    afterwards.
    """

    def __init__(self, make: Callable[..., Iterable[Item]], *answers: Any) -> None:
        self._make = make
        self._answers = answers

    @cached_property
    def fingerprint(self) -> str:
        return _digest([self._make.__qualname__, *map(fingerprint_of, self._answers)])

    @cached_property
    def _items(self) -> list[Item]:
        return list(self._make(*self._answers))

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, Derived) else other)

    def __repr__(self) -> str:
        return repr(self._items)


def fingerprint_of(answer: Any) -> str:
    """A digest, in hex, that is the same for equal answers in every process. The order of the rows in a list does not
    matter: servers promise none.

    An answer is a list of rows, a `Derived`, or what JSON and `_tagged` can write. Raises TypeError for anything else.
    """
    if isinstance(answer, Derived):
        return answer.fingerprint
    return _digest(_sorted(answer) if isinstance(answer, list) else answer)


def _sorted(rows: list[Any]) -> list[Any]:
    try:
        return sorted(rows)
    except TypeError:
        # A null does not compare. Sorting by text takes longer.
        return sorted(rows, key=repr)


def _digest(value: Any) -> str:
    return blake2b(json.dumps(value, default=_tagged, sort_keys=True).encode()).hexdigest()


def _tagged(value: Any) -> dict[str, Any]:
    """What JSON has no form for, under the name of its type."""
    name = type(value).__name__
    if isinstance(value, datetime | Decimal):
        return {name: str(value)}
    if isinstance(value, bytes):
        return {name: value.hex()}
    if isinstance(value, Set):
        return {name: sorted(value)}
    if is_dataclass(value):
        return {name: [getattr(value, field.name) for field in fields(value)]}
    raise TypeError(f"no fingerprint of a {name}: it is neither data nor made of data")
