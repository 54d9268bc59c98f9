from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate, pre_save


class TaifishConfig(AppConfig):
    name = "taifish"
    #: Tables of other apps that are named in this app's SQL.
    reads_tables = (
        "instances_instance",
        "sync_syncrecord",
        "sync_syncsession",
        "sync_visithealth",
    )

    def ready(self) -> None:
        from django.contrib.auth.models import User

        from . import checks  # noqa: F401
        from .models import end_tokens
        from .roles import install_after_migrate

        pre_save.connect(end_tokens, sender=User)
        post_migrate.connect(install_after_migrate, sender=list(apps.get_app_configs())[-1])
