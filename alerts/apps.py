from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class AlertsConfig(AppConfig):
    name = "alerts"
    verbose_name = _("Alerts")

    def ready(self) -> None:
        from console import visibility
        from instances.services import ENCRYPTED
        from sync.registry import after
        from tagging.visibility import of_tags_in_sight

        from . import services
        from .models import Alert, AlertRule, Channel, Delivery, shown_alerts, shown_deliveries

        visibility.CONDITIONS |= {Alert: shown_alerts, AlertRule: of_tags_in_sight, Delivery: shown_deliveries}

        ENCRYPTED.extend([(Channel, "url_token"), (Channel, "secret_token")])
        for kind in ("accounts", "capacity", "aggregation"):
            after(kind, services.after_session)
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from instances.admin import ADDITIONS

        from . import admin

        ADDITIONS.extend(admin.OF_INSTANCES)
