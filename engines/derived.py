"""Facts made from rows on first access. Most visits find no change, and need only the fingerprints of the rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from typing import Any, TypeVar, overload

Item = TypeVar("Item")

#: Raise this by one when the same rows yield different facts, or the same facts are stored differently. The next visit
#: of each instance then compares everything again; otherwise stored facts stay as they are until their rows change.
VERSION = 2


class Derived(Sequence[Item]):
    """The items that `make(*answers)` returns, made on first access.

    `make` is a module-level function that depends on its arguments only: no clock, no connection, no state. Hence equal
    fingerprints mean equal items. `fingerprint_of` says what an argument may be; arguments must not change afterwards.
    They are released when the items are made, because rows take several times the memory of the facts.
    """

    def __init__(self, make: Callable[..., Iterable[Item]], *answers: Any) -> None:
        self._make = make
        self._answers: tuple[Any, ...] = answers

    @cached_property
    def fingerprint(self) -> str:
        return _digest([self._make.__qualname__, *map(fingerprint_of, self._answers)])

    @cached_property
    def _items(self) -> list[Item]:
        _ = self.fingerprint  # needs the arguments
        answers, self._answers = self._answers, ()
        return list(self._make(*answers))

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


def together(*several: Iterable[Item]) -> Iterator[Item]:
    """The items of all, for a `Derived` of several."""
    return chain.from_iterable(several)


def fingerprint_of(answer: Any) -> str:
    """A hex digest, the same for equal answers in every process. Ignores the order of rows, which servers do not
    guarantee.

    An answer is a list of rows, a `Derived`, or a value that JSON and `_tagged` can write. Raises TypeError for others.
    """
    if isinstance(answer, Derived):
        return answer.fingerprint
    return _digest(*_chunks(_sorted(answer))) if isinstance(answer, list) else _digest(answer)


def _sorted(rows: list[Any]) -> list[Any]:
    try:
        return sorted(rows)
    except TypeError:
        # None cannot be compared. Sorting by text is slower.
        return sorted(rows, key=repr)


def _chunks(rows: list[Any]) -> Iterator[list[Any]]:
    """`rows` in parts, so that not all are held as JSON at once."""
    return (rows[start : start + 1000] for start in range(0, len(rows), 1000))


def _digest(*values: Any) -> str:
    digest = blake2b()
    for value in values:
        digest.update(json.dumps(value, default=_tagged, sort_keys=True).encode())
    return digest.hexdigest()


def _tagged(value: Any) -> dict[str, Any]:
    """A value that JSON cannot write, under the name of its type."""
    name = type(value).__name__
    if isinstance(value, datetime | Decimal):
        return {name: str(value)}
    if isinstance(value, bytes):
        return {name: value.hex()}
    if isinstance(value, Set):
        return {name: sorted(value)}
    if is_dataclass(value):
        return {name: [getattr(value, field.name) for field in fields(value)]}
    raise TypeError(f"cannot make a fingerprint of a {name}")
