from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")
    #: Tables of other apps that SQL here names.
    reads_tables = ("sync_syncrecord",)

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from instances.admin import ADDITIONS
        from instances.timeline import SOURCES, Source
        from sync.registry import VisitKind, register

        from . import admin, pages, services

        register(VisitKind(gettext_noop("accounts"), _("Accounts"), services.read, services.write))
        ADDITIONS.extend(admin.OF_INSTANCES)
        SOURCES.append(Source("accounts.view_accountchange", pages.change_events))
