from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PlanningConfig(AppConfig):
    name = "planning"
    verbose_name = _("Planning")

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility
        from instances.admin import ADDITIONS

        from . import admin
        from .models import SizeLimit, Volume
        from .visibility import shown_limits, shown_volumes

        visibility.CONDITIONS |= {SizeLimit: shown_limits, Volume: shown_volumes}
        ADDITIONS.extend(admin.OF_INSTANCES)
