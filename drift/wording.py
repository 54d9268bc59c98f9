"""Names of what is compared, for people."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

#: Attributes of accounts.
FIELDS = {
    "kind": _("kind"),
    "is_locked": _("locked"),
    "connection_limit": _("connection limit"),
    "auth_method": _("authentication"),
    "valid_until": _("has an end date"),
}

#: Values of attributes.
VALUES = {
    "": _("none"),
    "true": _("yes"),
    "false": _("no"),
    "user": _("user"),
    "role": _("role"),
}

#: Options of memberships and grants.
OPTIONS = {
    "admin": _("may pass it on"),
    "noinherit": _("does not inherit its privileges"),
    "noset": _("may not switch to it"),
    "grantable": _("may pass it on"),
}

WHAT = {"missing": _("missing"), "extra": _("extra"), "different": _("different")}
