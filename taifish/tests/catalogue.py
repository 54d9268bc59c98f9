"""The Chinese catalogue: what our sources say, and what it has for that. Needs no gettext, only polib.

Run as a module (`make messages`) it brings the catalogue up to date, compiles it, and lists what is to be translated.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polib
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent.parent
PO = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
MO = PO.with_suffix(".mo")
FOLDERS = (
    "engines",
    "api",
    "console",
    "taifish",
    "instances",
    "tagging",
    "sync",
    "accounts",
    "access",
    "capacity",
    "aggregation",
    "planning",
    "owners",
    "drift",
    "duties",
    "reviews",
    "alerts",
    "audit",
    "classification",
    "templates",
)

#: How many texts a function takes, and whether a context stands before them.
SINGLE, PLURAL = (1, False), (2, False)
FUNCTIONS = {
    "gettext": SINGLE,
    "gettext_lazy": SINGLE,
    "gettext_noop": SINGLE,
    "ngettext": PLURAL,
    "ngettext_lazy": PLURAL,
    "pgettext": (1, True),
    "pgettext_lazy": (1, True),
    "npgettext": (2, True),
    "npgettext_lazy": (2, True),
}
#: As `templatize` writes them, and as Python's names and formats look.
_IN_TEMPLATE = re.compile(r"""\b_?(n?p?gettext)\((.*?)\)(?: |$)|\b_\(((?:"[^"]*"|'[^']*'))\)""", re.MULTILINE)
PLACEHOLDER = re.compile(r"%\(\w+\)[-#0+ ]?[\d.]*[a-zA-Z]|%[-#0+]?[\d.]*[sdrif]|\{\w*\}")


class Message(NamedTuple):
    """A text of our sources, and its plural where it counts something."""

    text: str
    plural: str = ""
    context: str = ""


def in_sources() -> dict[Message, str]:
    """Every text that is marked for translation → the file that has it."""
    found: dict[Message, str] = {}
    for path in sources():
        messages = in_python(path.read_text()) if path.suffix == ".py" else in_template(path.read_text())
        for message in messages:
            found.setdefault(message, str(path.relative_to(ROOT)))
    return found


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".html") and "tests" not in path.parts:
                yield path


def in_python(source: str) -> Iterator[Message]:
    tree = ast.parse(source)
    names = dict(FUNCTIONS)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("django.utils.translation", "advice"):
            names |= {one.asname: FUNCTIONS[one.name] for one in node.names if one.asname and one.name in FUNCTIONS}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield from _message(node, *names[node.func.id])


def _message(call: ast.Call, n_texts: int, has_context: bool) -> Iterator[Message]:
    wanted = call.args[: n_texts + has_context]
    given = [one.value for one in wanted if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    # One that translates what a variable holds marks nothing.
    if len(given) == len(wanted) == n_texts + has_context:
        context = given.pop(0) if has_context else ""
        yield Message(given[0], given[1] if n_texts == 2 else "", context)


def in_template(source: str) -> Iterator[Message]:
    for match in _IN_TEMPLATE.finditer(templatize(source)):
        call = f"gettext({match[3]})" if match[3] else f"{match[1]}({match[2]})"
        yield from in_python(call)


def in_catalogue(catalogue: polib.POFile) -> dict[Message, polib.POEntry]:
    return {Message(one.msgid, one.msgid_plural, one.msgctxt or ""): one for one in catalogue if not one.obsolete}


def translations(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def lacking(catalogue: polib.POFile) -> dict[Message, str]:
    """What our sources say and the catalogue does not, or only by guess → the file that has it."""
    known = in_catalogue(catalogue)
    return {
        message: path
        for message, path in in_sources().items()
        if message not in known or known[message].fuzzy or not all(translations(known[message]))
    }


def top_up(catalogue: polib.POFile) -> None:
    """Add what is missing, take away what nothing says any more and what was guessed. In the order of the texts, and
    without dates and places: so that two branches meet in few lines."""
    wanted = in_sources()
    kept = [entry for message, entry in in_catalogue(catalogue).items() if message in wanted and not entry.fuzzy]
    there = {Message(one.msgid, one.msgid_plural, one.msgctxt or "") for one in kept}
    for message in wanted.keys() - there:
        texts = {"msgstr_plural": {0: ""}} if message.plural else {"msgstr": ""}
        flags = ["python-format"] if re.search(r"%[(sdrif]", message.text) else []
        kept.append(
            polib.POEntry(
                msgid=message.text, msgid_plural=message.plural, msgctxt=message.context or None, flags=flags, **texts
            )
        )
    catalogue[:] = sorted(kept, key=lambda one: (one.msgid.strip().lower(), one.msgid, one.msgctxt or ""))
    catalogue.metadata.pop("POT-Creation-Date", None)


def main() -> None:
    catalogue = polib.pofile(str(PO), wrapwidth=120)
    top_up(catalogue)
    catalogue.save()
    MO.write_bytes(catalogue.to_binary())
    missing = lacking(catalogue)
    for message, path in missing.items():
        print(f"{path}: {message.text!r}")
    sys.exit(f"{len(missing)} texts are to be translated in {PO.relative_to(ROOT)}." if missing else 0)


if __name__ == "__main__":
    main()
