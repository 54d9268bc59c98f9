"""Secrets at rest: Fernet tokens under a list of keys, newest first.

The first key encrypts and all keys decrypt. To replace a key, put the new one first, run `rotate_credential_keys`, and
remove the old one.
"""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class CredentialKeyError(Exception):
    """None of the configured keys decrypts a stored secret."""


def _fernet() -> MultiFernet:
    try:
        return MultiFernet([Fernet(key.strip()) for key in settings.TAIFISH_CREDENTIAL_KEYS])
    except ValueError:
        raise ImproperlyConfigured(
            "TAIFISH_CREDENTIAL_KEYS contains a value that is not a Fernet key (32 bytes, URL-safe base64)."
        ) from None


def encrypt(secret: str) -> str:
    """The token to store for a secret."""
    return _fernet().encrypt(secret.encode()).decode()


def decrypt(token: str) -> str:
    """The secret of a token. Raises CredentialKeyError."""
    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise CredentialKeyError(
            "No key in TAIFISH_CREDENTIAL_KEYS decrypts this secret. Add the key that encrypted it, or enter the "
            "password again."
        ) from None


def rotate(token: str) -> str:
    """The token of the same secret under the first key. Raises CredentialKeyError."""
    return encrypt(decrypt(token))
