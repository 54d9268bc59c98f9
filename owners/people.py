"""People by what a directory, a file or a form calls them: external id or mail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from console.suggestions import nearest

from .models import Person


class People:
    """The people that these names refer to. Takes two queries at most, the second for suggestions."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = {name for name in names if name}
        by_id = Person.objects.filter(external_id__in=self.names).exclude(external_id="")
        lower = {name.lower() for name in self.names}
        by_mail = Person.objects.exclude(mail="").annotate(low=Lower("mail")).filter(low__in=lower)
        self._by_id = {person.external_id: person for person in by_id} if self.names else {}
        self._by_mail: dict[str, list[Person]] = defaultdict(list)
        for person in by_mail if self.names else ():
            self._by_mail[person.mail.lower()].append(person)

    def find(self, name: str) -> Person | None:
        """The person with this external id, else with this mail. Raises ValueError if several have the mail."""
        if person := self._by_id.get(name):
            return person
        found = self._by_mail.get(name.lower(), [])
        if len(found) > 1:
            raise ValueError(_("Several people have the mail “%s”. Use the external id.") % name)
        return found[0] if found else None

    def named(self, name: str) -> Person:
        """The person, or ValueError with a suggestion."""
        person = self.find(name)
        if person is None:
            known = Person.objects.exclude(external_id="").order_by().values_list("external_id", flat=True)
            text = _("No person has the external id or mail “%s”.") % name
            raise ValueError(text + nearest(name, known))
        return person


def person_named(name: str) -> Person:
    return People([name]).named(name)
