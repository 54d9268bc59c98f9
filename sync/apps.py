from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SyncConfig(AppConfig):
    name = "sync"
    verbose_name = _("Sync")

    def ready(self) -> None:
        from console import visibility

        from .models import SyncSession, shown_sessions

        visibility.CONDITIONS[SyncSession] = shown_sessions
