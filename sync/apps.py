from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class SyncConfig(AppConfig):
    name = "sync"
    verbose_name = _("Sync")
    #: Tables of other apps that SQL here names.
    reads_tables = ("instances_instance",)

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility

        from .models import SyncSession, shown_sessions

        visibility.CONDITIONS[SyncSession] = shown_sessions
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from instances.admin import ADDITIONS
        from instances.timeline import SOURCES, Source

        from . import pages

        ADDITIONS.extend(pages.OF_INSTANCES)
        SOURCES.append(Source("sync.view_syncrecord", pages.visit_events, _("Visits"), by_people=False))
