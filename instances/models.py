"""Managed instances, and the credentials to log in to them."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from engines.facts import DEFAULT_LEVEL, LEVELS
from engines.registry import ENGINES, aimed, engine_choices
from engines.target import Target

from . import crypto
from .destinations import is_listed, outside
from .sources import KINDS, Login, Secret, SecretError, kind_choices, reference_error


class NotListed(Exception):
    """The credential of an instance does not list its host."""


class Credential(models.Model):
    """A login on managed instances. A stored password is write-only and encrypted; other kinds name a place."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    username = models.CharField(_("user name"), max_length=128)
    kind = models.CharField(_("kind"), max_length=12, choices=kind_choices, default="password")
    reference = models.CharField(
        _("reference"),
        max_length=500,
        blank=True,
        help_text=_(
            "Where the secret is. Password file: its name in TAIFISH_SECRETS_DIR. Client certificate: the name there "
            "of its files without .crt and .key. Vault: MOUNT/PATH#FIELD. RDS: the region. Azure: a client id, or "
            "“default”. Empty for a stored password."
        ),
    )
    token = models.TextField(_("encrypted password"), editable=False, default="", blank=True)
    hosts = models.TextField(
        _("allowed hosts"),
        blank=True,
        help_text=_(
            "Where the password may be sent: host names, in which * stands for any characters, and networks, such as "
            "*.db.example.com, 10.20.0.0/16. Empty: adding or moving an instance asks for the password."
        ),
    )
    note = models.TextField(_("note"), blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("credential")
        verbose_name_plural = _("credentials")
        permissions = [("use_credential", _("Can say where a stored password is sent"))]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.kind in KINDS and (error := reference_error(self.kind, self.reference)):
            raise ValidationError({"reference": error})
        if self.kind in KINDS and not KINDS[self.kind].is_stored and not self.hosts.strip():
            raise ValidationError({"hosts": _("A credential of this kind must list the hosts of its instances.")})
        if self.pk and (others := outside(self)):
            names = ", ".join(one.name for one in others[:5]) + (" …" if len(others) > 5 else "")
            raise ValidationError({"hosts": _("The hosts of these instances are not listed: %s.") % names})

    @property
    def password(self) -> str:
        """The password in clear, for adapters only. Raises CredentialKeyError."""
        return crypto.decrypt(self.token) if self.token else ""

    @password.setter
    def password(self, secret: str) -> None:
        self.token = crypto.encrypt(secret) if secret else ""

    def secret(self, host: str, port: int | None) -> Secret:
        """The secret for a login there. May use the network. Raises CredentialKeyError, SecretError."""
        obtain = KINDS[self.kind].obtain
        return obtain(self.reference, Login(self.username, host, port)) if obtain else Secret(self.password)


class InstanceQuerySet(models.QuerySet["Instance"]):
    def as_before(self) -> InstanceQuerySet:
        """Instances that still send the password to an unproven server."""
        return self.filter(proof=Instance.Proof.AS_BEFORE)

    def active(self) -> InstanceQuerySet:
        return self.filter(retired_at=None)

    def to_compare(self) -> InstanceQuerySet:
        """Instances with a `certificate_to_compare`."""
        unseen = Q(certificate_compared=False) & ~Q(certificate="")
        return self.filter(~Q(seen_certificate="") | unseen)

    def retired(self) -> InstanceQuerySet:
        return self.exclude(retired_at=None)

    def due_for_purge(self, now: datetime) -> InstanceQuerySet:
        return self.filter(retired_at__lt=now - timedelta(days=settings.TAIFISH_KEEP_RETIRED_DAYS))


class Instance(models.Model):
    """One running database server: a PostgreSQL cluster, a MySQL or MariaDB server, an Oracle service."""

    class TLS(models.TextChoices):
        DISABLE = "disable", _("never")
        PREFER = "prefer", _("if the server offers it")
        REQUIRE = "require", _("always, certificate not checked")
        VERIFY_CA = "verify-ca", _("always, certificate checked")
        VERIFY_FULL = "verify-full", _("always, certificate and host name checked")

    class Proof(models.TextChoices):
        STRICT = "strict", _("strict: methods that reveal nothing")
        HASHES = "hashes", _("hashes allowed: md5, mysql_native_password, caching_sha2_password, Oracle")
        AS_BEFORE = "as_before", _("as before: any method that the server requests")

    name = models.CharField(_("name"), max_length=100, unique=True)
    engine = models.CharField(_("engine"), max_length=20, choices=engine_choices)
    host = models.CharField(
        _("host"),
        max_length=255,
        help_text=_(
            "Host name, IPv4 or IPv6 address, or absolute path of a Unix socket (PostgreSQL: of its directory)."
        ),
    )
    port = models.PositiveIntegerField(
        _("port"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("Empty: the engine's default port."),
    )
    database = models.CharField(
        _("database"),
        max_length=128,
        blank=True,
        help_text=_(
            "Maintenance database to connect to. Empty: the engine's default. Oracle: the service, which is required."
        ),
    )
    credential = models.ForeignKey(
        Credential, on_delete=models.PROTECT, related_name="instances", verbose_name=_("credential")
    )
    tls_mode = models.CharField(_("TLS"), max_length=12, choices=TLS, default=TLS.PREFER)
    tls_ca = models.CharField(
        _("CA file"),
        max_length=500,
        blank=True,
        help_text=_("Path of the trusted certificates on the machine that runs the workers."),
    )
    proof = models.CharField(
        _("while the server is unproven"),
        max_length=10,
        choices=Proof,
        default=Proof.STRICT,
        help_text=_(
            "Which login methods are allowed while the server's identity is not proved. A verified certificate, a "
            "compared fingerprint or a Unix socket proves it; TLS alone does not."
        ),
    )
    certificate = models.CharField(
        _("pinned certificate"),
        max_length=200,
        blank=True,
        help_text=_(
            "SHA-256 fingerprint. Empty: that of the first successful connection is pinned. Servers with another "
            "certificate are refused."
        ),
    )
    certificate_compared = models.BooleanField(
        _("fingerprint compared"),
        default=False,
        help_text=_("A person has compared it with the one on the server. It proves the server's identity."),
    )
    seen_certificate = models.CharField(_("certificate shown"), max_length=64, blank=True, editable=False)
    seen_certificate_at = models.DateTimeField(_("certificate shown at"), null=True, blank=True, editable=False)
    connect_timeout = models.PositiveIntegerField(
        _("connect timeout, s"), default=10, validators=[MinValueValidator(1), MaxValueValidator(300)]
    )
    statement_timeout = models.PositiveIntegerField(
        _("statement timeout, s"), default=60, validators=[MinValueValidator(1), MaxValueValidator(3600)]
    )
    budget = models.PositiveIntegerField(
        _("time budget of a visit, s"),
        default=600,
        validators=[MinValueValidator(5), MaxValueValidator(settings.TAIFISH_MAX_BUDGET)],
        help_text=_("A visit that takes longer fails and stores nothing."),
    )
    level = models.CharField(
        _("read depth"),
        max_length=1,
        default=DEFAULT_LEVEL,
        choices=list(
            zip(
                LEVELS,
                [
                    _("A: accounts, roles, instance and database grants; grants on tables stay unknown"),
                    _("B: and objects inside the databases; grants on columns stay unknown"),
                    _("C: and columns"),
                ],
                strict=True,
            )
        ),
    )
    note = models.TextField(_("note"), blank=True)
    product = models.CharField(_("product"), max_length=50, blank=True, editable=False)
    version = models.CharField(_("version"), max_length=200, blank=True, editable=False)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = _("instance")
        verbose_name_plural = _("instances")
        permissions = [("connect_instance", _("Can test the connection to an instance"))]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.name = self.name.strip()
        self.host = self.host.strip()
        if not self.name:
            raise ValidationError({"name": _("Enter a name.")})
        self.database = self.database.strip()
        if self.engine in ENGINES and ENGINES[self.engine].needs_database and not self.database:
            raise ValidationError({"database": _("This engine has no default. Enter the database or service.")})
        if self.host.startswith("[") and self.host.endswith("]"):
            self.host = self.host[1:-1]
        if not _is_host(self.host):
            raise ValidationError(
                {"host": _("Enter a host name, an IP address or an absolute path. The port has a separate field.")}
            )
        if self.credential_id and not is_listed(self.host, self.credential.hosts):
            raise ValidationError({"host": _("The credential does not list this host. Add it to its allowed hosts.")})
        if self.tls_mode in (self.TLS.VERIFY_CA, self.TLS.VERIFY_FULL) and self.host.startswith("/"):
            raise ValidationError({"tls_mode": _("A Unix socket has no TLS. Choose “never”.")})
        self.certificate = re.sub(r"^.*=|[:\s]", "", self.certificate).lower()
        if self.certificate and not re.fullmatch("[0-9a-f]{64}", self.certificate):
            raise ValidationError(
                {"certificate": _("Enter a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons.")}
            )
        if self.certificate_compared and not self.certificate:
            raise ValidationError({"certificate_compared": _("Enter the certificate's fingerprint too.")})

    @property
    def proved_by(self) -> str:
        """What proves the server's identity before the password is sent; "" for nothing."""
        target = aimed(
            Target(self.engine, self.host, "", tls_mode=self.tls_mode, tls_ca=self.tls_ca, certificate=self.certificate)
        )
        if target.is_local:
            return gettext("Unix socket")
        if target.is_verified:
            return gettext("certificate authority")
        if self.certificate and self.certificate_compared and self.proof != self.Proof.AS_BEFORE:
            return gettext("compared fingerprint")
        return ""

    @property
    def certificate_to_compare(self) -> str:
        """The fingerprint that a person must compare: a refused one, else one that was pinned without comparison."""
        return self.seen_certificate or ("" if self.certificate_compared else self.certificate)

    @property
    def is_retired(self) -> bool:
        return self.retired_at is not None

    def retire(self) -> None:
        """Stop visits. Stored data remain until the purge."""
        if self.retired_at is None:
            self.retired_at = timezone.now()
            self.save(update_fields=["retired_at", "updated_at"])

    def restore(self) -> None:
        """Make a retired instance active again."""
        self.retired_at = None
        self.save(update_fields=["retired_at", "updated_at"])

    def target(self) -> Target:
        """The target for an adapter, with the secret in clear. Raises CredentialKeyError, NotListed, SecretError."""
        if not is_listed(self.host, self.credential.hosts):
            raise NotListed(
                f"The credential {self.credential.name!r} does not list this host: its password is not sent there. "
                "Add the host to the allowed hosts of the credential."
            )
        port = self.port or (ENGINES[self.engine].port if self.engine in ENGINES else None)
        secret = self.credential.secret(self.host, port)
        if secret.certificate and self.tls_mode in (self.TLS.DISABLE, self.TLS.PREFER):
            raise SecretError(
                "A client certificate needs TLS.", "Set the TLS mode of the instance to require or stricter."
            )
        return Target(
            engine=self.engine,
            host=self.host,
            port=port,
            database=self.database,
            username=self.credential.username,
            password=secret.password,
            client_certificate=secret.certificate,
            client_key=secret.key,
            tls_mode=self.tls_mode,
            tls_ca=self.tls_ca,
            # A token is sent in clear text.
            proof=self.Proof.STRICT if KINDS[self.credential.kind].token else self.proof,
            certificate=self.certificate,
            compared=self.certificate_compared,
            connect_timeout=self.connect_timeout,
            statement_timeout=self.statement_timeout,
            budget=self.budget,
            level=self.level,
        )


# Underscores are not allowed in host names, but common.
_HOST_NAME = re.compile(r"(?!-)[\w-]{1,63}(?<!-)(\.(?!-)[\w-]{1,63}(?<!-))*\.?")


def _is_host(text: str) -> bool:
    if text.startswith("/"):
        return text.isprintable()
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_HOST_NAME.fullmatch(text))
    return True


def shown_credentials(ids: QuerySet) -> Q:
    """The credentials of these instances, and those that no instance uses."""
    uses = Instance.objects.filter(credential=OuterRef("pk"))
    return Q(Exists(uses.filter(pk__in=ids))) | ~Q(Exists(uses))
