from django.apps import AppConfig


class TaifishConfig(AppConfig):
    name = "taifish"

    def ready(self) -> None:
        from . import checks  # noqa: F401
