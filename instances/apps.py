from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InstancesConfig(AppConfig):
    name = "instances"
    verbose_name = _("Instances")

    def ready(self) -> None:
        from console import visibility

        from .models import Credential, Instance, shown_credentials

        visibility.INSTANCE.append(Instance)
        visibility.CONDITIONS[Credential] = shown_credentials
