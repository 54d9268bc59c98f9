from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class CapacityConfig(AppConfig):
    name = "capacity"
    verbose_name = _("Capacity")
    #: Tables of other apps that SQL here names.
    reads_tables = (
        "instances_instance",
        "sync_syncrecord",
        "sync_syncsession",
    )

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from sync.registry import VisitKind, register
        from sync.texts import Text

        from . import services

        nothing = Text(_("Nothing to measure: only system databases exist, or filters hide the rest."))
        register(
            VisitKind(
                gettext_noop("capacity"),
                _("Capacity"),
                services.read,
                services.write,
                texts={"no_databases": nothing},
            )
        )
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from instances.admin import ADDITIONS
        from sync.pages import WORDS

        from . import admin, pages

        ADDITIONS.extend(admin.OF_INSTANCES)
        WORDS["capacity"] = pages.visit_in_words
