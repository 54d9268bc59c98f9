from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class TaggingConfig(AppConfig):
    name = "tagging"
    verbose_name = _("Tags")
    #: Tables of other apps that SQL here names.
    reads_tables = ("instances_instance",)

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility

        from .models import Tag, TagOperation
        from .visibility import limit_by_tags, shown_operations, shown_tags

        visibility.LIMITS.append(limit_by_tags)
        visibility.CONDITIONS |= {Tag: shown_tags, TagOperation: shown_operations}
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what this app adds to pages."""
        from instances.admin import ADDITIONS
        from instances.resources import InstanceResource
        from instances.timeline import SOURCES, Source

        from . import admin

        ADDITIONS.extend(admin.OF_INSTANCES)
        InstanceResource.fields["tags"] = admin.EXPORTED_TAGS
        SOURCES.append(Source("tagging.view_tag", admin.tag_events, _("Tags")))
