"""The words of rules, as data: what the parser lets through, and what the editor explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from engines.facts import GRANT_KINDS
from engines.registry import ENGINES


@dataclass(frozen=True)
class Word:
    """One word. `takes` names what goes in its brackets: "" for a word without any, "one" text, or "some" texts.

    `options` maps a named option to the type of its value, and `needed` are those that must be given. A word that `is
    number` is compared with one: password_age_days > 90.
    """

    help: str | Promise
    takes: str = ""
    options: Mapping[str, type] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()
    is_number: bool = False


_WHAT = {"on": str, "kind": str, "grantable": bool}

WORDS: dict[str, Word] = {
    "superuser": Word(_('Is a superuser itself. has("SUPERUSER") also finds those who may switch to one.')),
    "can_login": Word(_("Can be used to log in.")),
    "locked": Word(_("Is locked, or was when last read.")),
    "is_role": Word(_("Is a role: it holds privileges for others.")),
    "is_public": Word(_("Stands for everybody: PUBLIC.")),
    "is_system": Word(_("Is maintained by the engine itself.")),
    "filtered": Word(_("Is hidden from lists by an account filter.")),
    "password_expired": Word(_("The password is expired.")),
    "expires": Word(_("Has an end of validity, past or to come.")),
    "expired": Word(_("The end of validity has passed.")),
    "password_age_days": Word(_("Days since the password was changed."), is_number=True),
    "valid_days": Word(_("Days until the end of validity; without end there are infinitely many."), is_number=True),
    "connection_limit": Word(_("Connections allowed at a time; without limit infinitely many."), is_number=True),
    "known_days": Word(_("Days since a visit first saw the account."), is_number=True),
    "unused_days": Word(_("Days since the last login. No engine shows that yet: always unknown."), is_number=True),
    "engine": Word(format_lazy("{} {}.", _("The engine is one of these:"), ", ".join(ENGINES)), "some"),
    "instance": Word(_("The instance's name is like one of these."), "some"),
    "instance_tag": Word(_("The instance has a tag with a slug like one of these, today."), "some"),
    "name": Word(_("The account's name is like one of these."), "some"),
    "host": Word(_("The account's host is like one of these."), "some"),
    "auth": Word(_("The authentication method is like one of these."), "some"),
    "assigned": Word(_("A person has assigned it a classification with a code like one of these."), "some"),
    "attribute": Word(_('Has the attribute itself, such as attribute("CREATEROLE").'), "one"),
    "has": Word(
        _(
            "Holds a privilege itself, through roles, as owner of a database, or as anybody: whatever its page shows "
            'as effective. on="shop.public.*" asks for an object or what it lies in, on="" for the whole instance; '
            "grantable=True for what it may pass on, direct=True for what it holds itself."
        ),
        "one",
        _WHAT | {"direct": bool},
    ),
    "member_of": Word(
        _(
            "Is a member of a role with a name like this, by any number of steps. direct=True: in one step. "
            "admin=True: and may pass it on."
        ),
        "one",
        {"direct": bool, "admin": bool},
    ),
    "gained": Word(
        _("Has the privilege now, and no way to it that has stood for the last so many hours."),
        "one",
        _WHAT | {"within_hours": int},
        frozenset({"within_hours"}),
    ),
    "held_days": Word(
        _("Has the privilege by a way that has stood for more than so many days."),
        "one",
        _WHAT | {"more_than": int},
        frozenset({"more_than"}),
    ),
}

#: Said beside the list of words.
GRAMMAR = _(
    "Join words with and, or, not and brackets. In texts * stands for any characters and ? for one; everything else, "
    "% and _ included, for itself. A fact that visits could not read is neither true nor false: where the answer hangs "
    "on it, it is unknown."
)

KINDS = frozenset(GRANT_KINDS)
