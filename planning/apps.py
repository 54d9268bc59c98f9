from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class PlanningConfig(AppConfig):
    name = "planning"
    verbose_name = _("Planning")

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility
        from sync.registry import after

        from . import services
        from .models import Projection, SizeLimit, Volume
        from .visibility import shown_limits, shown_projections, shown_volumes

        visibility.CONDITIONS |= {
            SizeLimit: shown_limits,
            Volume: shown_volumes,
            Projection: shown_projections,
        }
        after("capacity", services.after_collection)
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from capacity.admin import ACTIONS
        from capacity.pages import SECTIONS
        from instances.admin import ADDITIONS

        from . import admin, pages

        SECTIONS.append(("planning.view_sizelimit", pages.database_section))
        ADDITIONS.extend(admin.OF_INSTANCES)
        ACTIONS.extend(admin.OF_DATABASES)
