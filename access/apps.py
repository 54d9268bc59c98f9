from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class AccessConfig(AppConfig):
    name = "access"
    verbose_name = _("Access")
    #: Tables of other apps that SQL here names.
    reads_tables = (
        "accounts_account",
        "accounts_grant",
        "accounts_membership",
        "accounts_rolereach",
        "instances_instance",
    )

    def ready(self) -> None:
        """Declare what this app adds to pages."""
        if not settings.TAIFISH_PAGES:
            return
        from accounts.pages import TABS

        from . import pages

        # After the direct grants.
        TABS.insert(1, pages.EFFECTIVE)
