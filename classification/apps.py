from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ClassificationConfig(AppConfig):
    name = "classification"
    verbose_name = _("Classification")

    def ready(self) -> None:
        from sync.registry import StoreKind, after, register

        from . import runs, services

        register(StoreKind(services.KIND, _("Classification"), runs.write, batch=500, follow_ups=[services.count_day]))
        after("accounts", services.after_accounts)
