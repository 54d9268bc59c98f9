from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.utils.translation import gettext_lazy as _


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = _("Audit trail")

    def ready(self) -> None:
        from console import visibility

        from .models import Event, shown_events
        from .origin import wrap

        visibility.CONDITIONS[Event] = shown_events
        connection_created.connect(wrap)
