from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InstancesConfig(AppConfig):
    name = "instances"
    verbose_name = _("Instances")

    def ready(self) -> None:
        """Declare this app's additions to other apps."""
        from console import visibility

        from . import timeline
        from .models import Credential, Instance, shown_credentials

        visibility.INSTANCE.append(Instance)
        visibility.CONDITIONS[Credential] = shown_credentials
        timeline.SOURCES.append(timeline.Source("instances.change_instance", timeline.edits))
