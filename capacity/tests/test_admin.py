"""The pages of databases, gaps and filters, and what sizes add to the pages of instances."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from capacity.models import Database, DatabaseFilter
from capacity.tests.stored import database, tables, tablespace, total
from instances.models import Credential, Instance
from instances.tests.pages import staff, superstaff, told

LIST = reverse("admin:capacity_database_changelist")
GAPS = reverse("capacity-gaps")
GIB = 1024**3


@pytest.fixture
def instances(db: None) -> list[Instance]:
    credential = Credential.objects.create(name="c", username="u")
    return [
        Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
        for name, engine in (("pg", "postgresql"), ("my", "mysql"))
    ]


def names(answer) -> list[str]:
    assert answer.status_code == 200
    return [row.name for row in answer.context["cl"].result_list]


def page(of: Database, **query: str) -> str:
    return reverse("admin:capacity_database_change", args=[of.pk]) + "".join(f"?{k}={v}" for k, v in query.items())


def test_the_list_answers_what_it_is_asked(instances):
    """F2.4: gone and filtered ones are left out, said to be, and there for the asking; the largest come first."""
    pg, my = instances
    yesterday = timezone.localdate() - timedelta(days=1)
    database(pg, "small", GIB)
    database(pg, "big", 5 * GIB, days=40)
    database(pg, "unread")
    database(my, "lab", 2 * GIB, is_filtered=True)
    database(my, "old", 3 * GIB, gone_at=timezone.now(), size_day=yesterday - timedelta(days=9))
    database(my, "late", GIB // 2, size_day=yesterday - timedelta(days=1))
    client = superstaff()
    assert names(client.get(LIST)) == ["big", "small", "late", "unread"]
    assert names(client.get(LIST, {"gone": "all", "filtered": "all"})) == [
        "big",
        "old",
        "lab",
        "small",
        "late",
        "unread",
    ]
    assert names(client.get(LIST, {"filtered": "yes"})) == ["lab"]
    assert names(client.get(LIST, {"measured": "late"})) == ["late"]
    assert names(client.get(LIST, {"measured": "never"})) == ["unread"]
    assert names(client.get(LIST, {"engine": "mysql"})) == ["late"]
    shown = client.get(LIST).content.decode()
    assert "Gone and filtered rows are hidden." in shown
    assert "5.00 GiB" in shown
    assert "+29.3 KiB" in shown
    assert ">never<" in shown


def test_the_list_takes_a_fixed_number_of_queries(instances, django_assert_num_queries):
    for number in range(30):
        database(instances[0], f"d{number}", number, days=3)
    client = superstaff()
    with django_assert_num_queries(6):
        assert len(names(client.get(LIST))) == 30


def test_the_page_of_a_database_draws_what_is_known(instances):
    """F2.5: a hole where a day is missing, never zero."""
    one = database(instances[0], "shop <b>", 5 * GIB, days=3)
    one.sizes.filter(day=timezone.localdate() - timedelta(days=1)).delete()
    client = superstaff()
    answer = client.get(page(one))
    text = answer.content.decode()
    assert "shop &lt;b&gt;" in text
    assert "null, 5.0, null, 5.0]" in text
    assert answer.context["days"] == 90
    assert client.get(page(one, days="365")).context["days"] == 365
    assert client.get(page(one, days="x")).context["days"] == 90
    never = database(instances[0], "new")
    assert "There is nothing to draw yet." in client.get(page(never)).content.decode()


def test_the_page_of_a_database_says_where_its_bytes_are(instances):
    """Tables in a shared tablespace, and those that the server does not measure, are not in the size."""
    one = database(instances[1], "mysql", 0, elsewhere={"<items>": 2, "mysql": 1, "items": 4, "": 3})
    tablespace(instances[1], "USERS", 2 * GIB, database=one, used=GIB, limit=8 * GIB)
    tablespace(instances[1], "warm_data", 3 * GIB)
    client = superstaff()
    text = client.get(page(one)).content.decode()
    for words in (
        '2 tables are in the shared part <span class="tf-name">&lt;items&gt;</span>. Their bytes are counted there',
        '1 table is in the shared part <span class="tf-name">mysql</span>. Its bytes are counted there',
        "The server gives no size of 3 tables (engine CSV). They are not in this size.",
        "USERS",
        "8.00 GiB",
    ):
        assert words in text, words
    assert "warm_data" not in text
    instance_page = client.get(reverse("admin:instances_instance_change", args=[instances[1].pk]))
    assert "warm_data" in instance_page.content.decode()
    assert "shared part" not in client.get(page(database(instances[0], "shop", 1))).content.decode()


def test_the_page_of_a_database_says_which_tables_grow(instances):
    one = database(instances[0], "shop", GIB)
    client = superstaff()
    assert "Growth of tables" not in client.get(page(one)).content.decode()
    tables(one, 0, orders=5 * GIB)
    assert "for the first time" in client.get(page(one)).content.decode()
    tables(one, 28, orders=GIB, log=GIB)
    text = client.get(page(one)).content.decode()
    assert "+4.00 GiB" in text
    assert "no longer among the largest tables: size unknown" in text
    assert "orders" not in staff("capacity.view_database").get(page(one)).content.decode()


def test_the_page_of_an_instance_says_how_big_it_is(instances):
    """F2.1, F2.7: the total with its shared part, the largest databases, and how many days are missing."""
    pg, my = instances
    Instance.objects.update(created_at=timezone.now() - timedelta(days=3))
    database(pg, "shop", 2 * GIB)
    database(pg, "lab", GIB, is_filtered=True)
    total(pg, 3 * GIB + 1024, shared_size=1024, shared={"pg_global": 1024}, n_databases=2, is_complete=False)
    total(pg, 3 * GIB, ago=2)
    client = superstaff()
    answer = client.get(reverse("admin:instances_instance_change", args=[pg.pk])).content.decode()
    for words in (
        "<b>3.00 GiB</b>",
        "2 databases, filtered ones included, pg_global 1.00 KiB",
        "The total is too small",
    ):
        assert words in answer, words
    assert "<b>2</b>Gaps in 30 days" in answer
    assert "Largest databases" in answer
    empty = client.get(reverse("admin:instances_instance_change", args=[my.pk])).content.decode()
    assert "<b>–</b>Size" in empty
    listed = client.get(reverse("admin:instances_instance_changelist")).content.decode()
    assert "3.00 GiB" in listed
    assert ">incomplete<" in listed


def test_without_its_permission_nothing_of_it_is_shown(instances):
    total(instances[0], GIB)
    one = database(instances[0], "shop", GIB)
    client = staff("instances.view_instance")
    assert "1.00 GiB" not in client.get(reverse("admin:instances_instance_changelist")).content.decode()
    assert (
        "Gaps in 30 days"
        not in client.get(reverse("admin:instances_instance_change", args=[instances[0].pk])).content.decode()
    )
    for url in (LIST, page(one), GAPS, reverse("health")):
        assert client.get(url).status_code == 403


def test_gaps_can_be_narrowed(instances):
    """F2.1: missing and incomplete days, by kind, tag, instance and time."""
    pg, my = instances
    Instance.objects.update(created_at=timezone.now() - timedelta(days=40))
    for ago in range(1, 31):
        total(pg, GIB, ago=ago, is_complete=ago != 7)
    client = superstaff()

    def counted(**query: object) -> int:
        return client.get(GAPS, query).context["page"].paginator.count

    assert counted() == 31
    assert counted(days=7) == 8
    assert counted(days=30, kind="incomplete") == 1
    assert counted(instance=pg.pk) == 1
    assert counted(days=365) == 10 + 1 + 40
    assert counted(days="x") == 31
    tag = my.tags.create(slug="t", label="T")
    assert counted(tag=tag.pk) == 30
    text = client.get(GAPS, {"days": 1}).content.decode()
    assert "none, or deleted" in text
    with_next = client.get(GAPS, {"days": 365, "kind": "missing"}).content.decode()
    assert "50 days" in with_next


def test_a_button_asks_for_the_largest_tables_and_says_what_is_wrong(instances):
    one = database(instances[0], "shop", GIB)
    url = reverse("admin:capacity_database_do", args=[one.pk, "tables"])
    answer = superstaff().post(url, follow=True)
    assert "unreachable" in told(answer)
    assert staff("capacity.view_database").post(url).status_code == 403


def test_a_filter_previews_and_takes_effect_at_once(instances):
    """F2.4"""
    pg, my = instances
    database(pg, "lab_1", 1)
    database(my, "lab_2", 1)
    client = superstaff()
    preview = client.get(
        reverse("admin:capacity_databasefilter_preview"), {"action": "hide", "pattern": "lab*", "active": "on"}
    )
    assert "It matches 2 present databases." in preview.content.decode()
    data = {"action": "hide", "pattern": "lab*", "active": "on", "engine": "mysql"}
    answer = client.post(reverse("admin:capacity_databasefilter_add"), data)
    assert answer.status_code == 302
    assert set(Database.objects.visible().values_list("name", flat=True)) == {"lab_1"}
    client.post(
        reverse("admin:capacity_databasefilter_delete", args=[DatabaseFilter.objects.get(pattern="lab*").pk]),
        {"post": "yes"},
    )
    assert Database.objects.visible().count() == 2
