"""A saved state: the accounts and rights of one instance as a JSON or YAML document, with one item in a line.

Two of them can be compared with any diff. The JSON is YAML, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from django.utils.translation import gettext as _

from engines.registry import ENGINES

VERSION = 1
#: Of an item, in this order. `value` is null if it was not read; the last says whether the engine ships the role.
COLUMNS = ("account", "host", "kind", "database", "scope", "item", "value", "shipped")
_HEAD: dict[str, type] = {"engine": str, "product": str, "version": str, "read_at": str, "level": str}
_LISTS = ("beyond", "gaps", "system_roles")
#: Levels of a document: its keys, the items, the values of an item.
DEEPEST = 3

FORMATS = {"json": "application/json", "yaml": "application/yaml"}


def format_of(file: str) -> str:
    """The format that the name of a file says."""
    return "yaml" if file.lower().endswith((".yaml", ".yml")) else "json"


def written(state: Mapping[str, Any], form: str = "json") -> str:
    """The document as text; the same state is the same text."""
    return _yaml(state) if form == "yaml" else _json(state)


def _json(state: Mapping[str, Any]) -> str:
    head = {name: value for name, value in state.items() if name != "items"}
    lines = ",\n".join(f"  {_text(item)}" for item in state["items"])
    begin = _text(head, indent=1).removesuffix("\n}")
    return f'{begin},\n "items": [\n{lines}\n ]\n}}\n'


def _yaml(state: Mapping[str, Any]) -> str:
    lines = []
    # The items last.
    for name in sorted(state, key=lambda name: (name == "items", name)):
        value = state[name]
        if isinstance(value, list) and value:
            lines += [f"{name}:", *(f"- {_text(one)}" for one in value)]
        else:
            lines.append(f"{name}: {_text(value)}")
    return "\n".join(lines) + "\n"


def _text(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=True)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


#: What JSON has as it is, and YAML escaped. https://yaml.org/spec/1.1/#c-printable
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def parsed(text: str) -> dict[str, Any]:
    """Read a document in either format. Raises ValueError, which says what is wrong and where."""
    state = _from_json(text) if text.lstrip()[:1] in ("{", "[", "") else _from_yaml(text)
    if not isinstance(state, dict) or state.get("taifish_state") != VERSION:
        raise _refused(_("it has no line “%s”") % f"taifish_state: {VERSION}")
    _check_keys(state)
    for number, item in enumerate(state["items"], 1):
        if not _is_item(item):
            shown = json.dumps(item, ensure_ascii=False)[:100]
            raise ValueError(
                _("Item %(number)d of the saved state is not valid: %(item)s. An item has: %(columns)s.")
                % {"number": number, "item": shown, "columns": ", ".join(COLUMNS)}
            )
    seen = dict[tuple[str, ...], int]()
    for number, item in enumerate(state["items"], 1):
        if (first := seen.setdefault(tuple(item[:6]), number)) != number:
            raise ValueError(
                _("The saved state has an item twice: %(first)d and %(second)d. Leave one of them out.")
                % {"first": first, "second": number}
            )
    if any(map(_NOT_STORED.search, _texts(state))):
        raise _refused(_("it has a character that cannot be stored: %s") % "NUL, SURROGATE")
    return state


#: PostgreSQL stores neither NUL nor half of a surrogate pair.
_NOT_STORED = re.compile("[\0\ud800-\udfff]")


def _texts(value: Any) -> Iterator[str]:
    """Every text in it, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _refused(why: object) -> ValueError:
    return ValueError(_("The file is not a saved state: %s.") % why)


def _check_keys(state: dict[str, Any]) -> None:
    wrong = [name for name, kind in _HEAD.items() if not isinstance(state.get(name), kind)]
    wrong += [name for name in (*_LISTS, "items") if not isinstance(state.get(name), list)]
    if not wrong and state["engine"] not in ENGINES:
        wrong = ["engine"]
    if not wrong:
        wrong = [
            name for name in ("beyond", "system_roles") if not all(isinstance(value, str) for value in state[name])
        ]
    if not wrong and not all(_is_gap(gap) for gap in state["gaps"]):
        wrong = ["gaps"]
    if wrong:
        raise _refused(_("missing or not valid: %s; compare with a downloaded state") % ", ".join(wrong))
    if extra := sorted(str(name) for name in state.keys() - {"taifish_state", "items", *_HEAD, *_LISTS}):
        raise _refused(_("unknown: %s; leave that out") % ", ".join(extra)[:200])


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise _refused(_("it is nested too deeply")) from error
    except ValueError as error:
        raise _refused(error) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        raise ValueError(_("the key “%s” is there twice") % next(name for name in names if names.count(name) > 1))
    return found


def _from_yaml(text: str) -> Any:
    events = _events(text)
    try:
        found = _node(next(events), events, 0)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise _refused(_("line %(line)d: %(why)s") % {"line": line, "why": error.problem}) from error
    except (yaml.YAMLError, StopIteration) as error:
        raise _refused(" ".join(str(error).split()) or _("it is empty")) from error
    if next(events, None) is not None:
        raise _refused(_("it has more than one document"))
    if isinstance(found, dict) and found.get("taifish_state") == str(VERSION):
        found["taifish_state"] = VERSION
    return found


def _events(text: str) -> Iterator[yaml.Event]:
    outside = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return (event for event in events if not isinstance(event, outside))


def _node(event: Any, events: Iterator[Any], depth: int) -> Any:
    """What begins with this event. Aliases could stand for billions of items, and are refused, as are tags."""
    line = event.start_mark.line + 1
    why = ""
    if isinstance(event, yaml.AliasEvent) or event.anchor:
        why = _("aliases and anchors are not read; write the value out")
    elif event.tag:
        why = _("tags are not read; leave it out")
    elif depth > DEEPEST:
        why = _("it is nested too deeply")
    if why:
        raise _refused(_("line %(line)d: %(why)s") % {"line": line, "why": why})
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        return [_node(inner, events, depth + 1) for inner in _until(events, yaml.SequenceEndEvent)]
    found: dict[Any, Any] = {}
    for key in _until(events, yaml.MappingEndEvent):
        name = key.value if isinstance(key, yaml.ScalarEvent) and not key.anchor else None
        if name is None or name in found:
            why = _("this is no key") if name is None else _("the key “%s” is there twice") % name
            raise _refused(_("line %(line)d: %(why)s") % {"line": key.start_mark.line + 1, "why": why})
        found[name] = _node(next(events), events, depth + 1)
    return found


def _until(events: Iterator[Any], end: type[yaml.Event]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, end):
            return
        yield event


def _scalar(event: yaml.ScalarEvent) -> Any:
    """Quoted texts are texts. Without quotes, only null, true and false are none: a version of 17.10 stays as it is."""
    if event.implicit[0] and event.value in _PLAIN:
        return _PLAIN[event.value]
    return event.value


_PLAIN: dict[str, Any] = {"null": None, "~": None, "": None, "true": True, "false": False}


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
