"""The page that reads a file of people or of owners: it previews what would change, and stores all rows or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.buttons import Button
from console.csv import uploaded

from . import feeds

if TYPE_CHECKING:
    from console.buttons import ButtonAdmin

#: Rows that a page lists.
SHOWN = 500


@dataclass(frozen=True)
class Feed:
    title: str | Promise
    columns: tuple[str, ...]
    help: str | Promise
    permission: str
    #: Needed if the file has rows that are new.
    to_add: str
    read: Callable[[str, Any], feeds.Plan]
    name: Callable[[Any], str] = str


PEOPLE = Feed(
    _("Import people"),
    feeds.PERSON_COLUMNS,
    _("People are found by their external id. Active is yes or no; a person who has left is set to no, not deleted."),
    "owners.change_person",
    "owners.add_person",
    lambda text, _user: feeds.read_people(text),
)
OWNERS = Feed(
    _("Import owners"),
    feeds.OWNER_COLUMNS,
    _("An account is named as in the list, with its host where hosts count. The owner is an external id or a mail."),
    "owners.change_ownership",
    "owners.add_ownership",
    feeds.read_owners,
    lambda row: f"{row.account.instance}: {row}",
)


def import_button(pages: ButtonAdmin, feed: Feed) -> Button:
    return Button(
        "import",
        _("Import CSV"),
        feed.permission,
        lambda request, _row: import_feed(pages, request, feed),
        icon="upload",
        on_list=True,
    )


def import_feed(pages: ButtonAdmin, request: HttpRequest, feed: Feed) -> HttpResponse | None:
    """Preview what a file would change; with `confirmed`, store it. The file is sent each time, so that it may be
    larger than a form."""
    plan, error = None, ""
    try:
        if file := request.FILES.get("file"):
            plan = feed.read(uploaded(file), request.user)
        elif "chosen" in request.POST:
            error = gettext("Choose a file.")
    except ValueError as wrong:
        error = str(wrong)
    if plan and plan.new and not request.user.has_perm(feed.to_add):
        plan, error = None, gettext("The file has rows that are new, and you may not add any.")
    if plan and not plan.problems and "confirmed" in request.POST:
        plan.save()
        text = gettext("Imported: %(new)d new, %(changed)d changed, %(unchanged)d as they were.")
        messages.success(request, text % plan.counts)
        return None
    context = {
        **admin.site.each_context(request),
        "title": feed.title,
        "opts": pages.opts,
        "feed": feed,
        "columns": ", ".join(feed.columns),
        "error": error,
        "plan": plan,
        "problems": plan.problems[:SHOWN] if plan else [],
        "n_more": max(0, len(plan.problems) - SHOWN) if plan else 0,
        "shown": [(feed.name(row), row.pk is None) for row in (*plan.new, *plan.changed)[:SHOWN]] if plan else [],
        "next": pages.back(request, None).url,
    }
    return TemplateResponse(request, "owners/import.html", context)
