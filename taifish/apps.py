from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


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
        from . import checks  # noqa: F401
        from .roles import install_after_migrate

        post_migrate.connect(install_after_migrate, sender=list(apps.get_app_configs())[-1])
