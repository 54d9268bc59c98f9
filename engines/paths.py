"""Writing and parsing the paths of objects."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=10_000)
def dotted(*parts: str) -> str:
    """Canonical path of an object, outermost part first, in original case.

    A part is put in double quotes if it is empty or contains a dot, quote, parenthesis, blank or control character;
    double quotes inside are doubled: dotted("shop", "public", "a.b") == 'shop.public."a.b"'. See `split_path()`.
    """
    return ".".join(p if _PLAIN.fullmatch(p) else '"' + p.replace('"', '""') + '"' for p in parts)


_PLAIN = re.compile(r'[^\s."()\x00-\x1f\x7f]+')


def split_path(text: str) -> list[str]:
    """The names in a path, without quotes: split_path(dotted(*names)) == names.

    Leaves out the argument types of a routine. Raises ValueError with the position of the error.
    """
    return [name_of(part) for part in segments(text)]


def segments(text: str) -> list[str]:
    """The parts of a path, each as `dotted()` writes it: 'shop.public."a.b"' → ['shop', 'public', '"a.b"'].

    The last part of a routine includes its argument types. Raises ValueError with the position of the error.
    """
    parts, position = [], 0
    while position < len(text):
        found = _PART.match(text, position)
        if not found:
            raise ValueError(
                f"The path {text!r} is invalid at character {position + 1}. Separate its parts by dots, and put a part "
                "that contains a dot, a quote, a parenthesis or a blank in double quotes: "
                'shop.public."odd name".'
            )
        parts.append(dotted(_unquoted(found["name"])) + (found["arguments"] or ""))
        position = found.end()
    return parts


def name_of(part: str) -> str:
    """The name in one part of a path: '"a.b"' → 'a.b', 'f(integer)' → 'f'."""
    found = _PART.fullmatch(part)
    return _unquoted(found["name"]) if found else part


def arguments_of(part: str) -> str:
    """The argument types in the last part of a routine's path: 'f(integer)' → '(integer)'; "" for others."""
    found = _PART.fullmatch(part)
    return (found["arguments"] or "") if found else ""


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


_PART = re.compile(r'(?P<name>"(?:[^"]|"")*"|[^\s."()]+)(?P<arguments>\(.*\)$)?(?:\.(?=.)|$)', re.DOTALL)
