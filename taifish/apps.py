from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate, pre_save


class TaifishConfig(AppConfig):
    name = "taifish"
    #: Tables of other apps that are named in this app's SQL.
    reads_tables = (
        "accounts_account",
        "classification_assignment",
        "classification_classification",
        "instances_instance",
        "sync_syncrecord",
        "sync_syncsession",
        "sync_visithealth",
    )

    def ready(self) -> None:
        from django.contrib.auth.models import User

        from audit.tracking import DECLARED

        from . import checks, trail  # noqa: F401
        from .models import end_tokens
        from .roles import install_after_migrate
        from .tracked import TRACKED

        pre_save.connect(end_tokens, sender=User)
        last = list(apps.get_app_configs())[-1]
        post_migrate.connect(install_after_migrate, sender=last)
        post_migrate.connect(track_after_migrate, sender=last)
        DECLARED.extend(TRACKED)
        trail.connect()
        if settings.TAIFISH_PAGES:
            self.add_pages()

    def add_pages(self) -> None:
        """Declare what needs apps that only pages have."""
        from allauth.account.signals import authentication_step_completed
        from allauth.mfa.models import Authenticator
        from allauth.mfa.signals import authenticator_added
        from django.contrib.auth.signals import user_logged_in

        from console.columns import CHOSEN
        from console.list_files import FIRST, TOOLS
        from instances.services import ENCRYPTED

        from . import login_sessions, saved_views, second_factor

        user_logged_in.connect(login_sessions.begin)
        authentication_step_completed.connect(second_factor.confirmed)
        authenticator_added.connect(second_factor.spend_first)
        CHOSEN.append(saved_views.columns)
        FIRST.append(saved_views.open_default)
        TOOLS.append(saved_views.tools)
        ENCRYPTED.extend([(Authenticator, "data.secret"), (Authenticator, "data.seed")])


def track_after_migrate(sender: AppConfig, **kwargs: object) -> None:
    """Receiver of the last app's `post_migrate`: make the triggers of the audit trail."""
    from audit.tracking import DECLARED, install

    install(DECLARED)
