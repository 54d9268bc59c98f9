from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class AggregationConfig(AppConfig):
    name = "aggregation"
    verbose_name = _("Aggregation")
    #: Tables of other apps that SQL here names.
    reads_tables = (
        "capacity_database",
        "capacity_databasesize",
        "capacity_instancesize",
        "instances_instance",
        "tagging_instancetag",
        "tagging_tag",
    )

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from sync.registry import StoreKind, after, register
        from sync.texts import Text

        from . import services

        texts = {"no_sizes": Text(_("No sizes in the selected periods."))}
        register(StoreKind(gettext_noop("aggregation"), _("Aggregation"), services.write, batch=100, texts=texts))
        after("capacity", services.after_collection)
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from instances.timeline import SOURCES, Source

        from . import pages

        SOURCES.append(Source("aggregation.view_databaseaggregate", pages.jump_events, _("Size jumps")))
