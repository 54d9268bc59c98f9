from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PlanningConfig(AppConfig):
    name = "planning"
    verbose_name = _("Planning")

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from capacity.admin import ACTIONS
        from capacity.pages import SECTIONS
        from console import visibility
        from instances.admin import ADDITIONS
        from sync.registry import after

        from . import admin, pages, services
        from .models import Projection, SizeLimit, Volume
        from .visibility import shown_limits, shown_projections, shown_volumes

        visibility.CONDITIONS |= {
            SizeLimit: shown_limits,
            Volume: shown_volumes,
            Projection: shown_projections,
        }
        after("capacity", services.after_collection)
        SECTIONS.append(("planning.view_sizelimit", pages.database_section))
        ADDITIONS.extend(admin.OF_INSTANCES)
        ACTIONS.extend(admin.OF_DATABASES)
