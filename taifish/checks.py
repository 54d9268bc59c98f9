"""Checks of the deployment for `manage.py check`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import connections

from reviews.stamps import StampError, roots

from .environment import LOCAL, text

OLDEST_STORE = 14_00_00


@register(Tags.security)
def credential_keys(**kwargs: Any) -> list[CheckMessage]:
    for number, key in enumerate(settings.TAIFISH_CREDENTIAL_KEYS, 1):
        try:
            Fernet(key.strip())
        except ValueError:
            return [
                Error(
                    f"Key {number} of TAIFISH_CREDENTIAL_KEYS is not a Fernet key.",
                    hint="A key is 32 random bytes in URL-safe base64. To create one: "
                    'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"',
                    id="taifish.E001",
                )
            ]
    return []


@register(Tags.database)
def store_version(databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    for alias in databases or ():
        connection = connections[alias]
        connection.ensure_connection()
        if connection.connection.server_version < OLDEST_STORE:
            return [
                Error(
                    "The store is older than PostgreSQL 14.",
                    hint="Set DATABASE_URL to a PostgreSQL 14 or later.",
                    id="taifish.E002",
                )
            ]
    return []


@register(Tags.security)
def time_stamps(**kwargs: Any) -> list[CheckMessage]:
    if not settings.TAIFISH_TIMESTAMP_URL:
        return []
    try:
        roots(Path(settings.TAIFISH_TIMESTAMP_CA))
    except StampError:
        return [
            Error(
                "TAIFISH_TIMESTAMP_URL is set, and TAIFISH_TIMESTAMP_CA is no file of certificates.",
                hint="Set TAIFISH_TIMESTAMP_CA to a PEM file with the root certificate of the time stamp authority. "
                "Until then no evidence pack is made.",
                id="taifish.E003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def deployment(**kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if settings.TAIFISH_EMBEDDED:
        messages.append(
            Warning(
                "The store is the embedded PostgreSQL.",
                hint="This suits one machine. For larger installations set DATABASE_URL.",
                id="taifish.W001",
            )
        )
    if settings.CELERY_BROKER_URL.startswith("filesystem:"):
        messages.append(
            Warning(
                "The broker is a folder.",
                hint="This suits one machine. For several set CELERY_BROKER_URL to Redis or RabbitMQ.",
                id="taifish.W002",
            )
        )
    if settings.TAIFISH_API_BASIC:
        messages.append(
            Warning(
                "The API accepts user names and passwords.",
                hint="Give programs API tokens, and unset TAIFISH_API_BASIC.",
                id="taifish.W004",
            )
        )
    store = settings.DATABASES["default"]
    is_near = not store.get("HOST") or store["HOST"].startswith("/") or store["HOST"] in LOCAL
    if not is_near and store["OPTIONS"].get("sslmode") not in ("verify-ca", "verify-full"):
        messages.append(
            Warning(
                "The connection to the store does not prove that it is the store.",
                hint="Add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL. Otherwise a server between can read "
                "and change everything.",
                id="taifish.W005",
            )
        )
    broker = urlsplit(settings.CELERY_BROKER_URL)
    if broker.scheme.startswith("redis") and not broker.password:
        messages.append(
            Warning(
                "Redis asks for no password.",
                hint="Whoever reaches it can have workers run tasks. Set requirepass, and write "
                "CELERY_BROKER_URL=redis://:password@host:6379/0.",
                id="taifish.W006",
            )
        )
    if settings.EMAIL_HOST not in LOCAL and not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL):
        messages.append(
            Warning(
                "Mail is sent without TLS.",
                hint="Alerts name accounts and instances. Set TAIFISH_EMAIL_TLS to starttls or tls.",
                id="taifish.W009",
            )
        )
    log = urlsplit(settings.TAIFISH_AUDIT_FORWARD.removeprefix("syslog:"))
    if log.scheme in ("tcp", "udp") and log.hostname not in LOCAL:
        messages.append(
            Warning(
                "The audit trail is sent without TLS.",
                hint="Set TAIFISH_AUDIT_FORWARD to syslog:tls://HOST:6514.",
                id="taifish.W010",
            )
        )
    if text("TAIFISH_ALERT_EMAILS"):
        messages.append(
            Warning(
                "TAIFISH_ALERT_EMAILS is set but no longer used.",
                hint="The migration turned it into an e-mail channel and an active rule: see Alert channels and Alert "
                "rules in the admin. If they are missing, create them there. Then remove the variable.",
                id="taifish.W003",
            )
        )
    return messages


@register(Tags.database, deploy=True)
def unproven_servers(databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    if not databases:
        return []
    from instances.models import Instance

    n = Instance.objects.active().as_before().count()
    if not n:
        return []
    return [
        Warning(
            f"{n} instances send the password to a server whose identity is not proved.",
            hint="See Server identity on their pages: verify the certificate, or compare and accept its fingerprint.",
            id="taifish.W007",
        )
    ]


@register(Tags.database, deploy=True)
def second_factor(databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    if not databases or settings.TAIFISH_OIDC:
        return []
    from .models import SecondFactorGroup

    if SecondFactorGroup.objects.exists():
        return []
    return [
        Warning(
            "A password is enough to log in.",
            hint="Set up an OpenID provider, or select “Members need a second factor” on the pages of groups.",
            id="taifish.W008",
        )
    ]


@register(Tags.compatibility, deploy=True)
def mysql_driver(**kwargs: Any) -> list[CheckMessage]:
    if find_spec("MySQLdb"):
        return []
    return [
        Info(
            "mysqlclient is not installed; PyMySQL is used for MySQL and MariaDB.",
            hint="Install a compiler, pkg-config and libmariadb-dev, then pip install mysqlclient.",
            id="taifish.I001",
        )
    ]
