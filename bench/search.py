"""Search over a large fleet: 1,000 instances with 200,000 accounts and 50,000 databases.

The time is that of the whole search, of all kinds and with the counts, as the page makes it.
"""

from __future__ import annotations

import os
from typing import Any

from ground import beside, quick, report, seconds, store

INSTANCES = 20 if quick() else 1000

#: What is searched for: a name's beginning, its middle, both everywhere, nowhere, an account of MySQL, and two words.
TEXTS = {
    "beginning": "user17",
    "middle": "ser19",
    "every_beginning": "user",
    "every_middle": "ser",
    "one": "shop9_4",
    "nothing": "no-such-name",
    "with_host": "user77@%",
    "two_words": "user 199",
    "limited": "user17",
}


def main() -> None:
    figures: dict[str, Any] = {}
    with store():
        from django.contrib.auth.models import Permission, User
        from django.db import connection

        from instances.models import Instance
        from tagging.models import InstanceTag, Tag, TagLimit
        from taifish.search import search

        figures |= beside("house").fill(INSTANCES)
        limited = User.objects.create_user("bench", is_staff=True)
        limited.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        tag = Tag.objects.create(slug="half", label="half")
        TagLimit.objects.create(user=limited, tag=tag)
        half = Instance.objects.order_by("pk")[: INSTANCES // 2]
        InstanceTag.objects.bulk_create(InstanceTag(instance=instance, tag=tag) for instance in half)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        figures["load_before"] = os.getloadavg()[0]
        for name, text in TEXTS.items():
            user = limited if name == "limited" else None
            figures[f"{name}_found"] = sum(found.count for found in search(text, user))
            figures[f"{name}_ms"] = 1000 * seconds(lambda text=text, user=user: search(text, user), 5)
    report("search", figures, {f"{name}_ms": ("<=", 150) for name in TEXTS})


if __name__ == "__main__":
    main()
