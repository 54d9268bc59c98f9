from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ReviewsConfig(AppConfig):
    name = "reviews"
    verbose_name = _("Reviews")
    #: Tables of other apps that SQL here names.
    reads_tables = (
        "accounts_account",
        "accounts_grant",
        "accounts_membership",
        "classification_assignment",
        "classification_classification",
        "owners_ownership",
        "owners_person",
        "tagging_instancetag",
    )

    def ready(self) -> None:
        """Declare what this app adds to others."""
        from console import visibility
        from instances.services import ENCRYPTED
        from sync.registry import after

        from . import observing
        from .models import (
            Campaign,
            CampaignInstance,
            Delegation,
            Item,
            Reviewer,
            SigningKey,
            Stamp,
            shown_campaigns,
            shown_instances,
            shown_items,
            shown_with_campaign,
        )

        visibility.CONDITIONS |= {
            Campaign: shown_campaigns,
            CampaignInstance: shown_instances,
            Item: shown_items,
            Reviewer: shown_with_campaign,
            Delegation: shown_with_campaign,
            Stamp: shown_with_campaign,
        }
        ENCRYPTED.append((SigningKey, "token"))
        for kind in ("accounts", "classification"):
            after(kind, observing.after_session)
