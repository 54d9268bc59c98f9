"""Paths of objects: how they are written and read."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=10_000)
def dotted(*parts: str) -> str:
    """Canonical path of an object, outermost part first, in original case.

    A part that a dot, quote, parenthesis, blank or control character would make ambiguous, and an empty one, is put in
    double quotes, with double quotes inside doubled: dotted("shop", "public", "a.b") == 'shop.public."a.b"'.
    `split_path()` reads it back.
    """
    return ".".join(p if _PLAIN.fullmatch(p) else '"' + p.replace('"', '""') + '"' for p in parts)


_PLAIN = re.compile(r'[^\s."()\x00-\x1f\x7f]+')


def split_path(text: str) -> list[str]:
    """The names in a path, without quotes: split_path(dotted(*names)) == names.

    The argument types of a routine are not among them. Raises ValueError, saying where the path breaks off.
    """
    return [name_of(part) for part in segments(text)]


def segments(text: str) -> list[str]:
    """The parts of a path, each as `dotted()` writes it: 'shop.public."a.b"' → ['shop', 'public', '"a.b"'].

    A routine's argument types belong to its last part. Raises ValueError, saying where the path breaks off.
    """
    parts, position = [], 0
    while position < len(text):
        found = _PART.match(text, position)
        if not found:
            raise ValueError(
                f"The path {text!r} cannot be read from character {position + 1} on: write its parts with dots between "
                "them, and in double quotes what holds a dot, a quote, a parenthesis or a blank: "
                'shop.public."odd name".'
            )
        parts.append(dotted(_unquoted(found["name"])) + (found["arguments"] or ""))
        position = found.end()
    return parts


def name_of(part: str) -> str:
    """The name behind one part of a path: '"a.b"' → 'a.b', 'f(integer)' → 'f'."""
    found = _PART.fullmatch(part)
    return _unquoted(found["name"]) if found else part


def arguments_of(part: str) -> str:
    """The argument types behind the last part of a routine's path: 'f(integer)' → '(integer)'; "" for others."""
    found = _PART.fullmatch(part)
    return (found["arguments"] or "") if found else ""


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


_PART = re.compile(r'(?P<name>"(?:[^"]|"")*"|[^\s."()]+)(?P<arguments>\(.*\)$)?(?:\.(?=.)|$)', re.DOTALL)
