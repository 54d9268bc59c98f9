from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class InstancesConfig(AppConfig):
    name = "instances"
    verbose_name = _("Instances")

    def ready(self) -> None:
        """Declare this app's additions to other apps."""
        from console import visibility

        from .models import Credential, Instance, shown_credentials

        visibility.INSTANCE.append(Instance)
        visibility.CONDITIONS[Credential] = shown_credentials
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from . import timeline

        timeline.SOURCES.append(timeline.Source("instances.change_instance", timeline.edits, _("Edits and decisions")))
