"""Bulk tagging of 1,000 instances with 10 tags, as a ratio to one bare statement that does it without a receipt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ground import quick, report, seconds, store

INSTANCES, TAGS = (100, 10) if quick() else (1000, 10)

ASSIGN = """
INSERT INTO tagging_instancetag (instance_id, tag_id, added_at)
SELECT i.id, t.id, now() FROM unnest(%s::bigint[]) AS i(id) CROSS JOIN unnest(%s::bigint[]) AS t(id)
    ON CONFLICT DO NOTHING
"""
REMOVE = "DELETE FROM tagging_instancetag WHERE instance_id = ANY(%s) AND tag_id = ANY(%s)"


def main() -> None:
    figures: dict[str, Any] = {"pairs": INSTANCES * TAGS}
    with store():
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        from instances.models import Credential, Instance
        from tagging import services
        from tagging.models import InstanceTag, Tag

        credential = Credential.objects.create(name="c", username="u")
        made = Instance.objects.bulk_create(
            Instance(name=f"db{n}", engine="postgresql", host="h", credential=credential) for n in range(INSTANCES)
        )
        ids = [row.pk for row in made]
        tags = [row.pk for row in Tag.objects.bulk_create(Tag(slug=f"t{n}", label=f"T{n}") for n in range(TAGS))]

        def bare(sql: str) -> Callable[[], None]:
            def work() -> None:
                with connection.cursor() as cursor:
                    cursor.execute(sql, [ids, tags])

            return work

        def full() -> None:
            services.assign(ids, tags)

        def empty() -> None:
            InstanceTag.objects.all().delete()

        def measure(work: Callable[[], Any], before: Callable[[], Any]) -> float:
            taken = []
            for _ in range(5):
                before()
                taken.append(seconds(work))
            return min(taken)

        for name, before, ours, theirs in (
            ("assign", empty, full, bare(ASSIGN)),
            ("again", full, full, bare(ASSIGN)),
            ("remove", full, lambda: services.remove(ids, tags), bare(REMOVE)),
        ):
            figures[f"{name}_ms"] = measure(ours, before) * 1000
            figures[f"{name}_bare_ms"] = measure(theirs, before) * 1000
            figures[f"{name}_ratio"] = figures[f"{name}_ms"] / figures[f"{name}_bare_ms"]
            before()
            with CaptureQueriesContext(connection) as captured:
                ours()
            figures[f"{name}_statements"] = len(captured)
    bounds: dict[str, tuple[str, float]] = {}
    for name in ("assign", "again", "remove"):
        bounds |= {f"{name}_statements": ("<=", 20), f"{name}_ratio": ("<=", 2.0)}
    report("tagging", figures, bounds)


if __name__ == "__main__":
    main()
