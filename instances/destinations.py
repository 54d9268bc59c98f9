"""Where a stored password may be sent.

A credential may list the hosts of its instances. Without a list, whoever adds an instance or changes where it connects
enters the password again: permission to edit instances is then not enough to have it sent to a server of one's own.
"""

from __future__ import annotations

import ipaddress
from fnmatch import fnmatchcase
from hmac import compare_digest
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model
from django.utils.translation import gettext as _

from . import crypto

#: These decide where a stored password is sent, and how it is protected on the way. Changing one needs
#: `instances.use_credential`.
REACH = (
    "engine",
    "host",
    "port",
    "database",
    "credential",
    "tls_mode",
    "tls_ca",
    "proof",
    "certificate",
    "certificate_compared",
)


def is_listed(host: str, hosts: str) -> bool:
    """Whether a list permits a host: by network for addresses, else by a pattern with `*`. An empty one permits any."""
    return not hosts.strip() or any(_matches(host, entry) for entry in hosts.replace(",", " ").split())


def _matches(host: str, entry: str) -> bool:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return fnmatchcase(host.lower().rstrip("."), entry.lower().rstrip("."))
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def moved(before: Model | None, after: Model) -> list[str]:
    """The names of changed fields of REACH; of a new instance, all."""
    names = [(name, after._meta.get_field(name).attname) for name in REACH]
    return [name for name, key in names if before is None or getattr(before, key) != getattr(after, key)]


def check_password(credential: Any, password: str) -> None:
    """Raise ValidationError unless the credential limits its hosts, stores no password, or this is it."""
    if credential.hosts.strip() or not credential.token:
        return
    if not password:
        raise ValidationError(
            _(
                "Enter the password of the credential again, because this decides where it is sent; or have the "
                "credential list its hosts."
            )
        )
    try:
        stored = credential.password
    except crypto.CredentialKeyError as error:
        raise ValidationError(str(error)) from None
    if not compare_digest(stored.encode(), password.encode()):
        raise ValidationError(_("This is not the password of the credential."))


def outside(credential: Any) -> list[Any]:
    """The credential's instances, retired ones included, at hosts that it does not list."""
    return [one for one in credential.instances.only("name", "host") if not is_listed(one.host, credential.hosts)]
