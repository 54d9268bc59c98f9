from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class OwnersConfig(AppConfig):
    name = "owners"
    verbose_name = _("Owners")
    #: Tables of other apps that SQL here names.
    reads_tables = ("accounts_account",)

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility
        from tagging.visibility import of_tags_in_sight

        from .models import OwnerRule

        visibility.CONDITIONS[OwnerRule] = of_tags_in_sight
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from accounts.admin import ADDITIONS as OF_ACCOUNTS

        from . import admin

        OF_ACCOUNTS.extend(admin.OF_ACCOUNTS)
