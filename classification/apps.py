from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ClassificationConfig(AppConfig):
    name = "classification"
    verbose_name = _("Classification")
    #: Tables of other apps that SQL here names.
    reads_tables = (
        "accounts_account",
        "accounts_accountchange",
        "accounts_coverage",
        "accounts_grant",
        "accounts_membership",
        "accounts_rolereach",
        "instances_instance",
        "tagging_instancetag",
        "tagging_tag",
    )

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from accounts.pages import BADGES, TABS
        from instances.admin import ADDITIONS
        from instances.timeline import SOURCES, Source
        from sync.registry import StoreKind, after, register

        from . import admin, pages, runs, services

        register(StoreKind(services.KIND, _("Classification"), runs.write, batch=500, follow_ups=[services.count_day]))
        after("accounts", services.after_accounts)
        ADDITIONS.extend(admin.OF_INSTANCES)
        TABS.append(pages.TAB)
        BADGES.append(pages.badge_of)
        SOURCES.append(Source("classification.view_assignment", pages.assignment_events))
