"""A saved state: the accounts and rights of one instance as a JSON document, with one item in a line.

Two of them can be compared with any diff. JSON is YAML, too.
"""

from __future__ import annotations

import json
from typing import Any

from django.utils.translation import gettext as _

from engines.registry import ENGINES

VERSION = 1
#: Of an item, in this order. `value` is null if it was not read; the last says whether the engine ships the role.
COLUMNS = ("account", "host", "kind", "database", "scope", "item", "value", "shipped")
_HEAD: dict[str, type] = {"engine": str, "product": str, "version": str, "read_at": str, "level": str}
_LISTS = ("beyond", "gaps", "system_roles")
#: The largest file that is imported.
MOST_BYTES = 50_000_000


def written(state: dict[str, Any]) -> str:
    """The document as text; the same state is the same text."""
    head = {name: value for name, value in state.items() if name != "items"}
    lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in state["items"])
    begin = json.dumps(head, ensure_ascii=False, indent=1, sort_keys=True).removesuffix("\n}")
    return f'{begin},\n "items": [\n{lines}\n ]\n}}\n'


def parsed(text: str) -> dict[str, Any]:
    """Read a document. Raises ValueError, which says what is wrong."""
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(_("The file is not a saved state: %s.") % error) from error
    if not isinstance(state, dict) or state.get("taifish_state") != VERSION:
        raise ValueError(_("The file is not a saved state: %s.") % f"taifish_state {VERSION}")
    wrong = [name for name, kind in _HEAD.items() if not isinstance(state.get(name), kind)]
    wrong += [name for name in (*_LISTS, "items") if not isinstance(state.get(name), list)]
    if extra := sorted(state.keys() - {"taifish_state", "items", *_HEAD, *_LISTS}):
        wrong += extra
    if not wrong and state["engine"] not in ENGINES:
        wrong = ["engine"]
    if not wrong and not all(isinstance(name, str) for name in (*state["beyond"], *state["system_roles"])):
        wrong = ["beyond", "system_roles"]
    if not wrong and not all(_is_gap(gap) for gap in state["gaps"]):
        wrong = ["gaps"]
    if wrong:
        raise ValueError(_("The file is not a saved state: %s.") % ", ".join(wrong))
    for number, item in enumerate(state["items"], 1):
        if not _is_item(item):
            raise ValueError(_("Item %d of the saved state is not valid.") % number)
    if len({tuple(item[:6]) for item in state["items"]}) < len(state["items"]):
        raise ValueError(_("The saved state has an item twice."))
    # PostgreSQL stores no NUL.
    if "\\u0000" in json.dumps(state):
        raise ValueError(_("The file is not a saved state: %s.") % "NUL")
    return state


def _is_gap(gap: object) -> bool:
    keys = {"scope", "database", "code", "message"}
    return isinstance(gap, dict) and gap.keys() == keys and all(isinstance(value, str) for value in gap.values())


def _is_item(item: object) -> bool:
    return (
        isinstance(item, list)
        and len(item) == len(COLUMNS)
        and all(isinstance(text, str) for text in item[:6])
        and isinstance(item[6], str | None)
        and isinstance(item[7], bool)
    )
