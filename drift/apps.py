from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DriftConfig(AppConfig):
    name = "drift"
    verbose_name = _("Drift")
    #: Tables of other apps that SQL here names.
    reads_tables = ("accounts_account", "accounts_coverage", "accounts_grant", "accounts_membership")

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility

        from .models import AcceptedDeviation, Baseline, shown_accepted, shown_baselines

        visibility.CONDITIONS |= {Baseline: shown_baselines, AcceptedDeviation: shown_accepted}
