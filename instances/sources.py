"""Where the secret of a credential comes from: the store, or a place that is read at each visit.

Each kind of credential is a `Kind` of KINDS. Only Vault, RDS and Azure use the network; their libraries are extras
(`pip install taifish[vault]`, `[aws]`, `[azure]`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

#: Seconds to wait for a service that issues secrets.
TIMEOUT = 10

#: Bytes of a password file. A longer file is not a password.
LONGEST = 4096

#: The scope of tokens for Azure's PostgreSQL and MySQL.
#: https://learn.microsoft.com/azure/postgresql/flexible-server/how-to-configure-sign-in-azure-ad-authentication
AZURE_SCOPE = "https://ossrdbms-aad.database.windows.net/.default"


class SecretError(Exception):
    """A secret cannot be obtained. `hint` says what to do; a retry may help if `transient`."""

    def __init__(self, message: str, hint: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.transient = transient


@dataclass(frozen=True)
class Secret:
    """What a login presents: a password, or the paths of a client certificate and its key (PEM)."""

    password: str = field(default="", repr=False)
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True)
class Login:
    """For whom a secret is: the collection account and the server that it logs in to."""

    username: str
    host: str
    port: int | None


@dataclass(frozen=True)
class Kind:
    """A kind of credential. `form` is what its reference must look like, and `example` shows it; without `form` it has
    none. `obtain(reference, login)` raises SecretError. A `token` is sent in clear text, so only to a proven server."""

    label: Any
    obtain: Callable[[str, Login], Secret] | None = None
    form: str = ""
    example: str = ""
    token: bool = False

    @property
    def is_stored(self) -> bool:
        return self.obtain is None

    def is_reference(self, text: str) -> bool:
        return bool(re.fullmatch(self.form, text)) and ".." not in text.split("/")


def _path(name: str) -> Path:
    """The path of a file of TAIFISH_SECRETS_DIR. Raises SecretError for a file outside, also through a link."""
    folder = settings.TAIFISH_SECRETS_DIR
    if not folder:
        raise SecretError("TAIFISH_SECRETS_DIR is not set", "Set it to the folder of password files and certificates.")
    path = Path(folder).resolve()
    found = (path / name).resolve()
    if not found.is_relative_to(path):
        raise SecretError(f"{name} is outside TAIFISH_SECRETS_DIR", "Move the file into the folder.")
    if not found.is_file():
        raise SecretError(f"TAIFISH_SECRETS_DIR has no file {name}", "Correct the credential, or mount the file.")
    return found


def from_file(reference: str, login: Login) -> Secret:
    """The first line of a file."""
    path = _path(reference)
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        password = content.decode().split("\n")[0].removesuffix("\r")
    except OSError as error:
        raise SecretError(f"{reference} cannot be read: {error.strerror}", "Let the workers read the file.") from None
    except UnicodeDecodeError:
        raise SecretError(f"{reference} is not UTF-8 text", "Write the password as one line of text.") from None
    if not password or len(content) > LONGEST:
        raise SecretError(f"{reference} is empty or too long", "Write the password as one line of text.")
    return Secret(password)


def client_certificate(reference: str, login: Login) -> Secret:
    """NAME.crt and NAME.key, which must not have a passphrase."""
    return Secret(certificate=str(_path(f"{reference}.crt")), key=str(_path(f"{reference}.key")))


def from_vault(reference: str, login: Login) -> Secret:
    """A field of a secret of HashiCorp Vault's key-value engine, version 2: MOUNT/PATH#FIELD.
    https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version"""
    try:
        import hvac
        import requests
    except ImportError:
        raise _missing("hvac", "vault") from None
    if not settings.TAIFISH_VAULT_URL:
        raise SecretError("TAIFISH_VAULT_URL is not set", "Set it, and how Taifish logs in to Vault.")
    where, _sep, name = reference.rpartition("#")
    mount, _sep, path = where.partition("/")
    try:
        client = hvac.Client(
            url=settings.TAIFISH_VAULT_URL,
            # Not from the environment or the home folder.
            token="",
            verify=settings.TAIFISH_VAULT_CA or True,
            namespace=settings.TAIFISH_VAULT_NAMESPACE or None,
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        if settings.TAIFISH_VAULT_ROLE_ID:
            client.auth.approle.login(settings.TAIFISH_VAULT_ROLE_ID, settings.TAIFISH_VAULT_SECRET_ID or None)
        else:
            # Read each time: an agent may renew the file.
            client.token = _vault_token()
        found = client.secrets.kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
        password = found["data"]["data"].get(name)
    except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized, hvac.exceptions.InvalidRequest):
        hint = "Renew the token or the AppRole, and let its policy read the path."
        raise SecretError(f"Vault refuses to read {where}", hint) from None
    except hvac.exceptions.InvalidPath:
        raise SecretError(f"Vault has no secret {where}", "Correct the credential: MOUNT/PATH#FIELD.") from None
    except (hvac.exceptions.VaultError, requests.RequestException, KeyError, TypeError, ValueError) as error:
        # Their messages may quote requests.
        raise SecretError(
            f"Vault does not answer as expected: {type(error).__name__}",
            "See whether Vault is reachable from the workers and unsealed.",
            transient=True,
        ) from None
    if not isinstance(password, str) or not password:
        raise SecretError(
            f"the secret {where} of Vault has no text {name}", "Correct the credential: MOUNT/PATH#FIELD."
        )
    return Secret(password)


def _vault_token() -> str:
    try:
        token = Path(settings.TAIFISH_VAULT_TOKEN_PATH).read_text(encoding="utf-8").strip()
    except OSError:
        token = ""
    if not token:
        hint = "Set TAIFISH_VAULT_TOKEN_PATH, or TAIFISH_VAULT_ROLE_ID and TAIFISH_VAULT_SECRET_ID."
        raise SecretError("there is no token for Vault", hint)
    return token


def rds_token(reference: str, login: Login) -> Secret:
    """A token of AWS IAM for RDS and Aurora, signed here for 15 minutes; the reference is the region.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html"""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise _missing("boto3", "aws") from None
    try:
        client = boto3.session.Session().client("rds", region_name=reference)
        return Secret(client.generate_db_auth_token(login.host, login.port, login.username, reference))
    except BotoCoreError as error:
        hint = "Give the workers a role or keys of AWS that may rds-db:connect as this user."
        raise SecretError(f"AWS gives no token: {type(error).__name__}", hint, transient=True) from None


def azure_token(reference: str, login: Login) -> Secret:
    """A token of Microsoft Entra for Azure's PostgreSQL and MySQL; the reference is the client id of a managed
    identity, or "default" for the identity of the machine or the environment."""
    try:
        from azure.core.exceptions import AzureError
    except ImportError:
        raise _missing("azure-identity", "azure") from None
    try:
        return Secret(_azure(reference).get_token(AZURE_SCOPE).token)
    except (AzureError, ValueError) as error:
        hint = "Give the workers a managed identity, or the variables of azure-identity, that may log in as this user."
        raise SecretError(f"Azure gives no token: {type(error).__name__}", hint, transient=True) from None


@cache
def _azure(reference: str) -> Any:
    """Keeps its tokens until they expire, so that not each visit asks for one."""
    from azure.identity import DefaultAzureCredential

    chosen = {} if reference == "default" else {"managed_identity_client_id": reference}
    return DefaultAzureCredential(exclude_interactive_browser_credential=True, **chosen)


def _missing(module: str, extra: str) -> SecretError:
    return SecretError(
        f"{module} is not installed", f"Install it where workers and web run: pip install taifish[{extra}]."
    )


_NAME = r"[\w.-]+(?:/[\w.-]+)*"

KINDS = {
    "password": Kind(_("password, stored encrypted")),
    "file": Kind(_("password file"), from_file, _NAME, "db/collector"),
    "certificate": Kind(_("client certificate"), client_certificate, _NAME, "db/collector"),
    "vault": Kind(
        _("HashiCorp Vault, KV version 2"), from_vault, rf"[\w-]+/{_NAME}#[\w.-]+", "secret/db/collector#password"
    ),
    "rds": Kind(_("AWS RDS, IAM token"), rds_token, r"[a-z]{2}(?:-[a-z]+)+-\d", "eu-central-1", token=True),
    "azure": Kind(_("Azure, Entra token"), azure_token, r"default|[0-9a-fA-F-]{36}", "default", token=True),
}


def kind_choices() -> list[tuple[str, Any]]:
    return [(name, kind.label) for name, kind in KINDS.items()]


def reference_error(kind: str, reference: str) -> str:
    """What is wrong with a credential's reference; "" if nothing is."""
    described = KINDS[kind]
    if described.is_stored:
        return gettext("A stored password has no reference. Leave this empty.") if reference else ""
    if described.is_reference(reference):
        return ""
    return gettext("Enter a reference of this form: %s.") % described.example
