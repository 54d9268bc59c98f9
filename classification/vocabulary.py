"""The words of rules as data: the parser accepts them, the editor explains them."""

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
    """One word. `takes` names its arguments: "" for none, "one" text, or "some" texts.

    `options` maps an option to the type of its value; `needed` are the required ones. A word with `is_number` is
    compared with a number: password_age_days > 90.
    """

    help: str | Promise
    takes: str = ""
    options: Mapping[str, type] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()
    is_number: bool = False


_WHAT = {"on": str, "kind": str, "grantable": bool}

WORDS: dict[str, Word] = {
    "superuser": Word(_('Is a superuser itself. has("SUPERUSER") also finds accounts that can switch to one.')),
    "can_login": Word(_("Can be used to log in.")),
    "locked": Word(_("Is locked, or was when last read.")),
    "is_role": Word(_("Is a role: it holds privileges for others.")),
    "is_public": Word(_("Is PUBLIC, which stands for all accounts.")),
    "is_system": Word(_("Is maintained by the engine itself.")),
    "filtered": Word(_("Is hidden from lists by an account filter.")),
    "password_expired": Word(_("The password is expired.")),
    "expires": Word(_("Has an end of validity, past or future.")),
    "expired": Word(_("The end of validity has passed.")),
    "password_age_days": Word(_("Days since the password was changed."), is_number=True),
    "valid_days": Word(_("Days until the end of validity; infinite if there is none."), is_number=True),
    "connection_limit": Word(_("Maximum concurrent connections; infinite if there is no limit."), is_number=True),
    "known_days": Word(_("Days since a visit first saw the account."), is_number=True),
    "unused_days": Word(
        _("Days since the last login. Known for Oracle only, where it has recorded a login; otherwise unknown."),
        is_number=True,
    ),
    "engine": Word(format_lazy("{} {}.", _("The engine is one of these:"), ", ".join(ENGINES)), "some"),
    "instance": Word(_("The instance's name matches one of these."), "some"),
    "instance_tag": Word(_("The instance now has a tag with a slug that matches one of these."), "some"),
    "name": Word(_("The account's name matches one of these."), "some"),
    "host": Word(_("The account's host matches one of these."), "some"),
    "auth": Word(_("The authentication method matches one of these."), "some"),
    "assigned": Word(_("A user has assigned it a classification with a code that matches one of these."), "some"),
    "attribute": Word(_('Has the attribute itself, such as attribute("CREATEROLE").'), "one"),
    "has": Word(
        _(
            "Holds a privilege directly, through roles (predefined ones too), as owner of a database or through PUBLIC:"
            ' what its page shows as effective. on="shop.public.*" selects an object or what contains it, on="" the '
            "whole instance; with on, superusers count too. "
            "grantable=True requires the grant option, direct=True a direct grant."
        ),
        "one",
        _WHAT | {"direct": bool},
    ),
    "member_of": Word(
        _(
            "Is a member of a role with a matching name, directly or through roles. direct=True: directly. "
            "admin=True: with the admin option."
        ),
        "one",
        {"direct": bool, "admin": bool},
    ),
    "gained": Word(
        _(
            "Has the privilege now, but by no path that has lasted for the given number of hours. Changes of options "
            "do not interrupt possession; grantable=True asks how long the grant option has been held."
        ),
        "one",
        _WHAT | {"within_hours": int},
        frozenset({"within_hours"}),
    ),
    "held_days": Word(
        _(
            "Has the privilege by a path that has lasted for more than the given number of days. Changes of options "
            "do not interrupt possession; grantable=True asks how long the grant option has been held."
        ),
        "one",
        _WHAT | {"more_than": int},
        frozenset({"more_than"}),
    ),
}

#: Shown beside the list of words.
GRAMMAR = _(
    "Join words with and, or, not and brackets. In texts * matches any characters and ? one; all others, "
    "% and _ included, match themselves. A fact that visits could not read is neither true nor false: an answer that "
    "depends on it is unknown."
)

KINDS = frozenset(GRANT_KINDS)
