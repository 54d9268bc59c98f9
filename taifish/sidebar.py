"""The sidebar: links to pages that the user may open, by the name of the URL."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.http import HttpRequest
from django.urls import resolve
from django.utils.translation import gettext_lazy as _

from console.display import page_url

#: Title of a section → title, icon and page of each of its links. Sections are folded but that of the page; with eight
#: of them, the first without a title, seven entries are in sight. No two entries have one name.
SECTIONS: list[tuple[Any, list[tuple[Any, str, str]]]] = [
    (
        "",
        [
            (_("Overview"), "home", "admin:index"),
        ],
    ),
    (
        _("Fleet"),
        [
            (_("Instances"), "database", "admin:instances_instance_changelist"),
            (_("Credentials"), "key", "admin:instances_credential_changelist"),
            (_("Tags"), "sell", "admin:tagging_tag_changelist"),
            (_("Tag operations"), "receipt_long", "admin:tagging_tagoperation_changelist"),
            (_("Sync sessions"), "sync", "admin:sync_syncsession_changelist"),
            (_("Health of visits"), "monitor_heart", "admin:sync_visithealth_changelist"),
        ],
    ),
    (
        _("Access"),
        [
            (_("Accounts"), "group", "admin:accounts_account_changelist"),
            (_("Who can"), "help", "who-can"),
            (_("Rights matrix"), "grid_on", "rights-matrix"),
            (_("Compare"), "compare_arrows", "compare"),
            (_("Where is"), "travel_explore", "where-is"),
            (_("Changes"), "history", "admin:accounts_accountchange_changelist"),
            (_("Account filters"), "filter_alt", "admin:accounts_accountfilter_changelist"),
        ],
    ),
    (
        _("Capacity"),
        [
            (_("Databases"), "hard_drive", "admin:capacity_database_changelist"),
            (_("Trends"), "trending_up", "trends"),
            (_("Filling up"), "water_full", "filling-up"),
            (_("Forecasts"), "event_upcoming", "forecasts"),
            (_("Planning report"), "shopping_cart", "planning-report"),
            (_("Size limits"), "vertical_align_top", "admin:planning_sizelimit_changelist"),
            (_("Volumes"), "storage", "admin:planning_volume_changelist"),
            (_("Aggregates of instances"), "bar_chart", "admin:aggregation_instanceaggregate_changelist"),
            (_("Aggregates of databases"), "bar_chart", "admin:aggregation_databaseaggregate_changelist"),
            (_("Days without a size"), "event_busy", "capacity-gaps"),
            (_("Database filters"), "filter_alt", "admin:capacity_databasefilter_changelist"),
        ],
    ),
    (
        _("Risk and alerts"),
        [
            (_("Classifications"), "category", "admin:classification_classification_changelist"),
            (_("Classification rules"), "rule", "admin:classification_classificationrule_changelist"),
            (_("Assignments"), "assignment_ind", "admin:classification_assignment_changelist"),
            (_("Alerts"), "notifications", "admin:alerts_alert_changelist"),
            (_("Alert rules"), "rule", "admin:alerts_alertrule_changelist"),
            (_("Channels"), "campaign", "admin:alerts_channel_changelist"),
            (_("Deliveries"), "outbox", "admin:alerts_delivery_changelist"),
        ],
    ),
    (
        _("Reviews"),
        [
            (_("People"), "badge", "admin:owners_person_changelist"),
            (_("Account owners"), "person_pin", "admin:owners_ownership_changelist"),
            (_("Owner rules"), "person_search", "admin:owners_ownerrule_changelist"),
            (_("End dates"), "event_busy", "end-dates"),
            (_("Leavers"), "person_remove", "leavers"),
            (_("Drift"), "difference", "admin:drift_baseline_changelist"),
            (_("Accepted deviations"), "check", "admin:drift_accepteddeviation_changelist"),
            (_("Duty pairs"), "call_split", "admin:duties_dutypair_changelist"),
            (_("Accepted conflicts"), "check", "admin:duties_acceptedconflict_changelist"),
            (_("Campaigns"), "fact_check", "admin:reviews_campaign_changelist"),
            (_("My items"), "checklist", "my-items"),
        ],
    ),
    (
        _("System"),
        [
            (_("Health"), "ecg_heart", "health"),
            (_("Schedules"), "schedule", "admin:django_celery_beat_periodictask_changelist"),
            (_("Users"), "person", "admin:auth_user_changelist"),
            (_("Groups"), "shield", "admin:auth_group_changelist"),
            (_("Audit trail"), "policy", "admin:audit_event_changelist"),
            (_("API tokens"), "vpn_key", "admin:taifish_apitoken_changelist"),
            (_("API"), "api", "docs"),
            (_("Locked logins"), "lock_clock", "admin:axes_accessattempt_changelist"),
        ],
    ),
]


def may_open(request: HttpRequest, link: str) -> bool:
    """Whether the user may open the page of a link: by the model's admin, or by the page's `may_open`."""
    page = _page_of(link)
    if pages := getattr(page, "model_admin", None):
        return pages.has_view_or_change_permission(request)
    return not hasattr(page, "may_open") or page.may_open(request)


@cache
def _page_of(link: str) -> Any:
    """The view of a page."""
    return resolve(link).func


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sections for unfold, without empty ones."""
    sections = []
    for title, pages in SECTIONS:
        links = [(name, icon, page_url(page)) for name, icon, page in pages]
        items = [{"title": name, "icon": icon, "link": link} for name, icon, link in links if may_open(request, link)]
        if items:
            sections.append({"title": title, "items": items})
    return sections
