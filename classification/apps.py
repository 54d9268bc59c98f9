from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class ClassificationConfig(AppConfig):
    name = "classification"
    verbose_name = _("Classification")
    #: Tables of other apps that SQL here names.
    reads_tables = (
        "accounts_account",
        "accounts_accountchange",
        "accounts_coverage",
        "accounts_membership",
        "accounts_rolereach",
        "instances_instance",
        "tagging_instancetag",
        "tagging_tag",
    )

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from accounts.freshness import reason_of
        from sync.registry import StoreKind, after, register
        from sync.texts import Text

        from . import runs, services

        not_applied = _("rule %(rule)s was not applied: %(message)s")
        texts = {
            "bad_rule": Text(not_applied, _("Correct the rule, or switch it off.")),
            "rule_failed": Text(not_applied, _("The worker's log has the rest.")),
            "stale": Text(
                _("the accounts are unknown: %(reason)s"),
                _("Visit it; until then its accounts keep what they had."),
                lambda parameters: {"reason": reason_of(parameters)},
            ),
        }
        register(
            StoreKind(
                services.KIND,
                _("Classification"),
                runs.write,
                batch=500,
                follow_ups=[services.count_day],
                texts=texts,
            )
        )
        after("accounts", services.after_accounts)
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from accounts.admin import ADDITIONS as OF_ACCOUNTS
        from accounts.filters import AccountFilters
        from accounts.pages import BADGES, TABS
        from instances.admin import ADDITIONS
        from instances.timeline import SOURCES, Source
        from sync.pages import WORDS

        from . import admin, filters, pages, services

        ADDITIONS.extend(admin.OF_INSTANCES)
        OF_ACCOUNTS.extend(admin.OF_ACCOUNTS)
        AccountFilters.base_filters["risk"] = filters.RiskOfAccount()
        TABS.append(pages.TAB)
        WORDS[services.KIND] = pages.visit_in_words
        BADGES.append(pages.badges_of)
        SOURCES.append(Source("classification.view_assignment", pages.assignment_events, _("Classifications")))
