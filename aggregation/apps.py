from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class AggregationConfig(AppConfig):
    name = "aggregation"
    verbose_name = _("Aggregation")

    def ready(self) -> None:
        from sync.registry import StoreKind, after, register

        from . import services

        register(StoreKind(gettext_noop("aggregation"), _("Aggregation"), services.write, batch=100))
        after("capacity", services.after_collection)
