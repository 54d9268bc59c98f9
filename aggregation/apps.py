from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AggregationConfig(AppConfig):
    name = "aggregation"
    verbose_name = _("Aggregation")

    def ready(self) -> None:
        from sync.registry import StoreKind, after, register

        from . import services

        register(StoreKind("aggregation", "Aggregation", services.write, batch=100))
        after("capacity", services.after_collection)
