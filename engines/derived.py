"""Facts that stay rows until somebody looks at them: most visits find nothing new, and need only know that."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, overload

Item = TypeVar("Item")

#: What makes facts of rows. Read as this process begins, so that it is the code that will run: with every new release
#: all is looked at once more.
_CODE = blake2b(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))).digest()


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
    def fingerprint(self) -> bytes:
        made_by = f"{self._make.__module__}.{self._make.__qualname__}".encode()
        return _hashed([_CODE, made_by, *map(fingerprint_of, self._answers)])

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


def fingerprint_of(answer: Any) -> bytes:
    """The same for equal answers, whatever the order of the rows in a list: a server promises none.

    An answer is a list of rows, a `Derived`, or anything that `_plain` can take. Raises ValueError for another.
    """
    if isinstance(answer, Derived):
        return answer.fingerprint
    if not isinstance(answer, list):
        return _written(_plain(answer))
    rows = _in_order(answer)
    try:
        return _hashed(rows)
    except ValueError:
        return _hashed(_plain(rows))


def _in_order(rows: list[Any]) -> list[Any]:
    """The rows in an order that is theirs, whatever order they came in. As a rule they came in it."""
    try:
        return sorted(rows)
    except TypeError:
        # Something is null in one of two rows and nothing to its left tells them apart. Neighbours are always compared,
        # so that this does not hang on the order they came in.
        return sorted(rows, key=repr)


def _plain(value: Any) -> Any:
    """What marshal can write, and writes alike for equal values."""
    if isinstance(value, Mapping):
        return sorted((key, _plain(part)) for key, part in value.items())
    if isinstance(value, Set):
        return sorted(value)
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if is_dataclass(value):
        return tuple(_plain(getattr(value, field.name)) for field in fields(value))
    return str(value) if isinstance(value, datetime | Decimal) else value


def _written(value: Any) -> bytes:
    # Version 2 of the format writes equal values alike; later ones write what is shared as references.
    return marshal.dumps(value, 2)


def _hashed(value: Any) -> bytes:
    return blake2b(_written(value)).digest()
