from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")
    #: Tables of other apps that SQL here names.
    reads_tables = ("instances_instance", "sync_syncrecord", "sync_visithealth")

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from audit.forwarding import STREAMS
        from sync.registry import VisitKind, register

        from . import services
        from .forwarding import CHANGES

        STREAMS.append(CHANGES)
        register(VisitKind(gettext_noop("accounts"), _("Accounts"), services.read, services.write))
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from instances.admin import ADDITIONS
        from instances.timeline import SOURCES, Source
        from sync.pages import WORDS

        from . import admin, pages, wording

        ADDITIONS.extend(admin.OF_INSTANCES)
        SOURCES.append(Source("accounts.view_accountchange", pages.change_events, _("Account changes")))
        WORDS["accounts"] = wording.visit_in_words
