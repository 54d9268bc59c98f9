"""What the forms of the pages about access have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.translation import gettext

from console.visibility import shown_to
from instances.models import Instance
from tagging.models import Tag

INPUT = {"class": "tf-input"}

#: Instances that a form lists.
INSTANCES = 1000


class AskForm(forms.Form):
    """A form with a `tag`; `no_tag` are the words for none."""

    no_tag: Any = "–"

    def __init__(self, data: Mapping[str, Any] | None, user: User) -> None:
        super().__init__(data)
        tags = shown_to(Tag.objects.all(), user).values_list("slug", "label")
        self.fields["tag"].widget.choices = [("", self.no_tag), *tags]

    def checked(self) -> dict[str, Any]:
        """Return the values by name. Raises ValueError, which says what to change."""
        if not self.is_valid():
            raise ValueError(" ".join(f"{name}: {error}" for name, errors in self.errors.items() for error in errors))
        return self.cleaned_data


def instance_names(user: User) -> QuerySet[Instance, str]:
    return shown_to(Instance.objects.active(), user).order_by("name").values_list("name", flat=True)[:INSTANCES]


def refuse_unknown(query: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError for a parameter that the page does not have: it would answer another question."""
    if unknown := [name for name in query if name not in known]:
        raise ValueError(
            gettext("Unknown parameter: %(name)s. Valid are: %(known)s.")
            % {"name": ", ".join(unknown), "known": ", ".join(sorted(known))}
        )
