"""Finding what makes a batch fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Errors = type[Exception] | tuple[type[Exception], ...]


def failing(
    items: Sequence[Item],
    attempt: Callable[[Sequence[Item]], object],
    errors: Errors = Exception,
    fatal: Errors = (),
) -> Iterator[tuple[Item, Exception]]:
    """Attempt all items together; where that raises one of `errors`, attempt each half of them, and so on. Yields each
    item that fails alone, with its error.

    An attempt that raises must leave nothing behind. `fatal` errors are raised, even where `errors` includes them.
    """
    try:
        attempt(items)
    except fatal:
        raise
    except errors as error:
        if len(items) == 1:
            yield items[0], error
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            yield from failing(half, attempt, errors, fatal)
