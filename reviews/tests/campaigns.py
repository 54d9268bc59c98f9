"""Campaigns and who reviews in them, for tests."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from instances.tests.api import user_with
from owners.models import Ownership, Person
from reviews.models import Campaign, Reviewer

DECIDES = "reviews.decide_item"


def reviewer(name: str) -> User:
    user = user_with(DECIDES)
    user.username = name
    user.save()
    return user


def campaign(*users: User, name: str = "Q4", **fields: object) -> Campaign:
    values = {"due_on": timezone.localdate() + timedelta(days=14)} | fields
    made = Campaign.objects.create(name=name, **values)
    for user in users:
        Reviewer.objects.create(campaign=made, user=user)
    return made


def owned(account: object, user: User, kind: str = "person") -> Ownership:
    person = Person.objects.filter(user=user).first() or Person.objects.create(name=user.username, user=user)
    return Ownership.objects.create(account=account, owner=person, kind=kind)
