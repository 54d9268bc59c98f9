from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TaggingConfig(AppConfig):
    name = "tagging"
    verbose_name = _("Tags")

    def ready(self) -> None:
        from console import visibility

        from .models import Tag, TagOperation
        from .visibility import limit_by_tags, shown_operations, shown_tags

        visibility.LIMITS.append(limit_by_tags)
        visibility.CONDITIONS |= {Tag: shown_tags, TagOperation: shown_operations}
