from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SyncConfig(AppConfig):
    name = "sync"
    verbose_name = _("Sync")
    #: Tables of other apps that SQL here names.
    reads_tables = ("instances_instance",)

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility
        from instances.admin import ADDITIONS
        from instances.timeline import SOURCES, Source

        from . import pages
        from .models import SyncSession, shown_sessions

        visibility.CONDITIONS[SyncSession] = shown_sessions
        ADDITIONS.extend(pages.OF_INSTANCES)
        SOURCES.append(Source("sync.view_syncrecord", pages.visit_events))
