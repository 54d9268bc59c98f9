"""Secrets at rest: Fernet tokens under a list of keys, newest first.

The first key encrypts and all of them decrypt, so a key is replaced by putting the new one in front, running
`rotate_credential_keys`, and taking the old one away.
"""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class CredentialKeyError(Exception):
    """A stored secret that none of the configured keys opens."""


def _fernet() -> MultiFernet:
    try:
        return MultiFernet([Fernet(key.strip()) for key in settings.TAIFISH_CREDENTIAL_KEYS])
    except ValueError:
        raise ImproperlyConfigured(
            "TAIFISH_CREDENTIAL_KEYS holds something that is not a Fernet key (32 bytes, URL-safe base64)."
        ) from None


def encrypt(secret: str) -> str:
    """The token to store for a secret."""
    return _fernet().encrypt(secret.encode()).decode()


def decrypt(token: str) -> str:
    """The secret behind a token. Raises CredentialKeyError: ciphertext is never handed out as a password."""
    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise CredentialKeyError(
            "None of TAIFISH_CREDENTIAL_KEYS opens this secret: put back the key it was stored with, or enter "
            "the password anew."
        ) from None


def rotate(token: str) -> str:
    """The same secret under the first key. Raises CredentialKeyError."""
    return encrypt(decrypt(token))
