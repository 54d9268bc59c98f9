from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DutiesConfig(AppConfig):
    name = "duties"
    verbose_name = _("Segregation of duties")

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility

        from .models import AcceptedConflict, shown_accepted

        visibility.CONDITIONS[AcceptedConflict] = shown_accepted
