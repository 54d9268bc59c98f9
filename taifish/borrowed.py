"""Texts to translate that no other source marks: those of packages without Chinese, and stored texts.

Only `makemessages` reads this module.
"""

from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext

UNFOLD = [
    _("Select record"),
    _("Select action"),
    _("Select action to run"),
    _("Select value"),
    _("Select all rows"),
    _("Select format"),
    _("Value"),
    _("From"),
    _("To"),
    _("Date"),
    _("Date from"),
    _("Date to"),
    _("Not enough data."),
    _("This exporter will export the following fields"),
    _("View traceback"),
    _(
        "Raw passwords are not stored, so there is no way to see this user’s password, but you can change the password "
        'using <a href="{}" class="text-primary-600 dark:text-primary-500">this form</a>.'
    ),
    _("Run"),
    _("After you've created a user, you’ll be able to edit more user options."),
    _("Expand row"),
    _("Type to search"),
    _("You have been successfully logged out from the administration"),
    _("No data"),
    _("More actions"),
    _("All applications"),
    _("True"),
    _("False"),
    _("Apply Filters"),
    _("Cancel"),
    _("This item will be deleted."),
    _("Click to cancel"),
    _("No results found"),
    _("This page yielded into no results. Create a new item or reset your filters."),
    _("Reset filters"),
    _("Click to download"),
    _("General"),
    _("Light"),
    _("Dark"),
    _("System"),
    _("Choose file to upload"),
    _("Toggle password visibility"),
]

IMPORT_EXPORT = [
    _("No valid data to import. Ensure your file has the correct headers or data for import."),
    _("Resource"),
    _("Select all"),
    _("Value could not be parsed."),
]

BEAT = [
    _("Task Name"),
    _("Periodic Tasks Using This Schedule"),
    _("Schedule"),
    _("Arguments"),
    _("Execution Options"),
]

#: Names of counts of visits, and reasons in records: stored in English, translated when shown.
STORED = [
    _("accounts"),
    _("appeared"),
    _("reappeared"),
    _("disappeared"),
    _("recreated"),
    _("renamed"),
    _("changed"),
    _("granted"),
    _("revoked"),
    _("joined"),
    _("left"),
    _("statements"),
    _("databases"),
    _("instances"),
    _("measured"),
    _("filtered"),
    _("bytes"),
    _("incomplete"),
    _("daily"),
    _("weekly"),
    _("monthly"),
    _("quarterly"),
    _("examined"),
    _("gained"),
    _("lost"),
    _("matched"),
    _("unknown"),
    _("rules"),
    _("Paused after too many failures in a row. Resume it under Health of visits, or sync it by hand."),
    _("The instance was retired."),
    _("No sizes in the selected periods."),
    _("Nothing to measure: only system databases exist, or filters hide the rest."),
]


def counted(n: int) -> list[str]:
    """The same for texts with plural forms."""
    return [
        ngettext(
            "\n                    Export %(len)s selected item.\n                ",
            "\n                    Export %(len)s selected items.\n                ",
            n,
        ),
    ]
