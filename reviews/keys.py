"""The key that signs evidence packs: made once, stored encrypted as passwords of credentials are."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction

from instances.crypto import decrypt, encrypt

from .models import SigningKey


def stored() -> SigningKey:
    """Return the key, and make it if there is none yet."""
    with transaction.atomic():
        if found := SigningKey.objects.first():
            return found
        # Two processes make one key.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('taifish review key'))")
        if found := SigningKey.objects.first():
            return found
        key = Ed25519PrivateKey.generate()
        return SigningKey.objects.create(
            token=encrypt(key.private_bytes_raw().hex()), public=key.public_key().public_bytes_raw().hex()
        )


def private(key: SigningKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(decrypt(key.token)))
