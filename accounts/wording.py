"""Changes of accounts in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from .models import Account, AccountChange, describe_grant

#: What a visit did, by the name of its number in the summary.
DID = {
    "appeared": _("%d appeared"),
    "reappeared": _("%d appeared again"),
    "disappeared": _("%d disappeared"),
    "changed": _("%d changed"),
    "granted": ngettext_lazy("%d grant added", "%d grants added"),
    "revoked": ngettext_lazy("%d grant removed", "%d grants removed"),
    "joined": ngettext_lazy("%d membership added", "%d memberships added"),
    "left": ngettext_lazy("%d membership removed", "%d memberships removed"),
}


def events(change: AccountChange) -> list[tuple[str, str]]:
    """Return each event with its label."""
    return [(event, AccountChange.Event(event).label) for event in change.events]


def details(change: AccountChange) -> list[tuple[str, str, str]]:
    """Return the lines of a change: a word ("granted", "left", "attributes" …), its label, the text."""
    logged = change.details
    lines = []
    if "renamed" in logged:
        lines.append(("renamed", gettext("renamed"), _from_to(*logged["renamed"])))
    for one in logged.get("recreated", ()):
        lines.append(("recreated", gettext("dropped and created anew"), _object(one["kind"], one["scope"])))
    for one in logged.get("renamed_objects", ()):
        lines.append(("objects", gettext("renamed"), _object(one["kind"], _from_to(one["from"], one["to"]))))
    for word, label in (("granted", gettext("granted")), ("revoked", gettext("revoked"))):
        for grant in logged.get(word, ()):
            lines.append((word, gettext("dropped") if grant.get("dropped") else label, _grant(grant)))
    for word, label in (("joined", gettext("joined")), ("left", gettext("left"))):
        for membership in logged.get(word, ()):
            options = [words for option, words in _options().items() if membership.get(option)]
            text = f"{_name(membership['role'])}{' (' + ', '.join(options) + ')' if options else ''}"
            lines.append((word, gettext("dropped") if membership.get("dropped") else label, text))
    for one in logged.get("options", ()):
        label = gettext("option added") if one["added"] else gettext("option removed")
        held, option = _held(one), _options().get(one["option"], one["option"])
        lines.append(("options", label, f"{held}: {option}" if held else gettext("inherits from all its roles")))
    for one in logged.get("grantors", ()):
        for names, words in (
            (one["added"], gettext("%(held)s, now also by %(names)s")),
            (one["removed"], gettext("%(held)s, no longer by %(names)s")),
        ):
            if names:
                text = words % {"held": _held(one), "names": ", ".join(map(_name, names))}
                lines.append(("grantors", gettext("granted by"), text))
    for field, (before, after) in logged.get("attributes", {}).items():
        name = str(Account._meta.get_field(field).verbose_name)
        lines.append(("attributes", gettext("changed"), f"{name}: {_text(before)} → {_text(after)}"))
    return lines


def visit_in_words(summary: Mapping[str, Any]) -> str:
    """What an account visit found: "first visit: 113 accounts, 868 grants", or "113 accounts: 1 appeared, 2 grants
    added"."""
    n = {name: number for name, number in summary.items() if isinstance(number, int)}
    accounts = ngettext("%d account", "%d accounts", n.get("accounts", 0)) % n.get("accounts", 0)
    if n.get("appeared") and n["appeared"] == n.get("accounts"):
        grants = ngettext("%d grant", "%d grants", n.get("granted", 0)) % n.get("granted", 0)
        return gettext("first visit: %(accounts)s, %(grants)s") % {"accounts": accounts, "grants": grants}
    did = ", ".join(words % n[name] for name, words in DID.items() if n.get(name))
    return f"{accounts}: {did}" if did else accounts


def _options() -> dict[str, str]:
    """Option of a grant or membership → what it permits."""
    return {
        "grantable": gettext("may pass it on"),
        "admin_option": gettext("may pass it on"),
        "inherit": gettext("inherits"),
        "set_option": gettext("may switch"),
    }


def _held(entry: dict[str, Any]) -> str:
    """The grant or the role that an entry of a change is about; "" if it is about the account itself."""
    if "privilege" in entry:
        # The option is what has changed.
        return _grant(entry | {"grantable": False})
    return gettext("role %s") % _name(entry["role"]) if "role" in entry else ""


def _grant(grant: dict[str, Any]) -> str:
    return describe_grant(grant["privilege"], grant["kind"], grant["scope"], grant["grantable"], grant["denied"])


def _object(kind: str, name: str) -> str:
    return f"{kind} {name}"


def _from_to(before: str, after: str) -> str:
    return f"{_name(before)} → {_name(after)}"


def _name(name: str) -> str:
    """A name inside a line, in quotation marks if it is empty or has blanks at its ends."""
    return name if name and name == name.strip(" ") else f"“{name}”"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return str(value)
