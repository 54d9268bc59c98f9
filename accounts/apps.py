from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        from sync.registry import VisitKind, register

        from . import services

        register(VisitKind(gettext_noop("accounts"), _("Accounts"), services.read, services.write))
