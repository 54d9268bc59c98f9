"""A campaign over 50,000 items: the freeze, the board, a page of a reviewer's items, and the evidence pack."""

from __future__ import annotations

import resource
from datetime import timedelta
from typing import Any

from ground import FLEET, quick, report, seconds, store

INSTANCES, ACCOUNTS, GRANTS = (20, 20, 3) if quick() else (200, 50, 3)

#: PostgreSQL's instances only have accounts; each account is in a role, and one in twenty is a superuser.
FILL = """
INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered, is_superuser,
       can_login, auth_method, last_known, first_seen_at)
SELECT i.id, 'user' || n, '', CASE WHEN n = 1 THEN 'role' ELSE 'user' END, '', false, false, n %% 20 = 0, n > 1, '',
       '{}', now()
  FROM instances_instance i, generate_series(1, %(accounts)s) n;
INSERT INTO accounts_membership (member_id, role_id, admin_option, inherit, set_option, held_since, since)
SELECT m.id, r.id, false, true, true, now(), now()
  FROM accounts_account m JOIN accounts_account r ON r.instance_id = m.instance_id AND r.name = 'user1'
 WHERE m.id <> r.id;
INSERT INTO accounts_grant (account_id, kind, database, scope, privilege, grantable, denied, held_since, since)
SELECT a.id, 'table', 'shop', 'shop.public.t' || n, 'SELECT', false, false, now(), now()
  FROM accounts_account a, generate_series(1, %(grants)s) n;
INSERT INTO accounts_coverage (instance_id, level, covered, beyond, gaps, unread, digest, since, read_at)
SELECT id, 'B', '{database,schema,table,memberships}', '{}', '[]', '{}', '', now(), now() FROM instances_instance;
"""


def main() -> None:
    figures: dict[str, Any] = {}
    with store():
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.db import connection, transaction
        from django.test import Client
        from django.urls import reverse
        from django.utils import timezone

        from accounts import closure
        from instances.models import Instance
        from reviews import pack, services
        from reviews.models import Campaign, Item

        with connection.cursor() as cursor:
            cursor.execute(FLEET, {"instances": INSTANCES})
            cursor.execute(FILL, {"accounts": ACCOUNTS, "grants": GRANTS})
        for pk in Instance.objects.values_list("pk", flat=True):
            with transaction.atomic():
                closure.rebuild(pk)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        users = [User.objects.create_superuser(name) for name in ("carol", "dave", "erin")]
        campaign = Campaign.objects.create(name="bench", due_on=timezone.localdate() + timedelta(days=1))
        for user in users:
            campaign.reviewers.create(user=user)
        figures["freeze_s"] = seconds(lambda: services.freeze(campaign))
        campaign.refresh_from_db()
        figures["items"] = campaign.items.count()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        settings.ALLOWED_HOSTS = ["*"]
        client = Client()
        client.force_login(users[0])

        def opened(url: str) -> None:
            if client.get(url).status_code != 200:
                raise RuntimeError(f"{url} did not answer")

        figures["board_s"] = seconds(lambda: opened(reverse("admin:reviews_campaign_change", args=[campaign.pk])), 3)
        figures["my_items_s"] = seconds(lambda: opened(reverse("my-items")), 3)

        def decide() -> None:
            for user in users:
                ids = list(Item.objects.filter(reviewer=user).values_list("pk", flat=True))
                services.decide(ids, "keep", user, reason="bench")

        figures["decide_all_s"] = seconds(decide)
        campaign = services.close(campaign)
        campaign = services.acknowledge(campaign, users[0], "seen")
        campaign = services.seal(campaign)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sizes: list[int] = []
        figures["pack_s"] = seconds(lambda: sizes.extend(len(piece) for piece in pack.pack(campaign)))
        figures["pack_mib"] = sum(sizes) / 2**20
        figures["largest_piece_mib"] = max(sizes) / 2**20
        figures["pack_memory_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    report(
        "reviews",
        figures,
        {
            "freeze_s": ("<=", 60),
            "board_s": ("<=", 0.3),
            "largest_piece_mib": ("<=", 4),
            "pack_memory_mib": ("<=", 100),
        },
    )


if __name__ == "__main__":
    main()
