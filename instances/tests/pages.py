"""Who looks at pages, in tests of the admin."""

from __future__ import annotations

import re

from django.contrib.auth.models import User
from django.test import Client

from instances.tests.api import user_with


def entered(user: User) -> Client:
    """A client with the person logged in, who is let into the admin."""
    User.objects.filter(pk=user.pk).update(is_staff=True)
    client = Client()
    client.force_login(user)
    return client


def staff(*permissions: str) -> Client:
    return entered(user_with(*permissions))


def superstaff(name: str = "root") -> Client:
    return entered(User.objects.create_superuser(name))


def told(answer) -> str:
    """The messages on the page that an answer redirects to, or on itself."""
    return " ".join(str(message) for message in answer.context["messages"])


def without_random_words(page: str) -> str:
    """In which a short name may occur by chance."""
    return re.sub(r'(name="csrfmiddlewaretoken" value|nonce)="[^"]*"', "", page)
