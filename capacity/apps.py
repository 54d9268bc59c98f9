from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CapacityConfig(AppConfig):
    name = "capacity"
    verbose_name = _("Capacity")

    def ready(self) -> None:
        from sync.registry import VisitKind, register

        from . import services

        register(VisitKind("capacity", "Capacity", services.read, services.write))
