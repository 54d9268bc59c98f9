"""Who asks, in tests of the API."""

from __future__ import annotations

import secrets

from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient


def user_with(*permissions: str) -> User:
    """A new person who may do this ("app.codename"), and nothing else."""
    user = User.objects.create_user(f"u{secrets.token_hex(4)}")
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


def client_with(*permissions: str) -> APIClient:
    return client_of(user_with(*permissions))


def superclient() -> APIClient:
    return client_of(User.objects.create_superuser(f"s{secrets.token_hex(4)}"))
