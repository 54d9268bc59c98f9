"""Memberships and grants that go on under other options, grantors and names, and those that end or begin anew."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from accounts.models import Account, Coverage, Grant, Membership, RoleReach
from accounts.tests.stored import MAY_1
from accounts.tests.visits import Visits, ended, forget_identity, grant, held, log, n_changes, owner, role, unread
from engines.facts import Gap, GrantFact, MembershipFact
from sync.registry import ImplausibleShrink

DAY = timedelta(days=1)
APP, TEAM = role("app", 1), role("team", 2)
BOTH = [APP, TEAM]
SHOP, A, B = owner("database", "shop", "5"), owner("schema", "shop.a", "5/50"), owner("schema", "shop.b", "5/60")
T = owner("table", "shop.a.t", "5/51")
OBJECTS = [SHOP, A, B, T]
SELECT = grant("app", "SELECT", "table", "shop.a.t", "5/51")
UPDATE = grant("app", "UPDATE", "column", "shop.a.t.c", "5/51/1")
IN_TEAM = MembershipFact(APP.key, TEAM.key)


@pytest.fixture
def pg(instances) -> Visits:
    return Visits(instances[0])


def intervals(model: type[Grant] | type[Membership], **which: Any) -> list[tuple[Any, ...]]:
    """Day of held_since, since and until of each row, and why it ended; in order."""
    rows = model.objects.filter(**which).order_by("since", "pk").values_list("held_since", "since", "until", "ended")
    return [(*((at - MAY_1).days if at else None for at in times), why) for *times, why in rows]


def described(fact: GrantFact, **more: Any) -> dict[str, Any]:
    columns = ("kind", "database", "scope", "privilege", "denied", "grantable")
    return {column: getattr(fact, column) for column in columns} | more


# Options


def test_a_grant_option_that_comes_and_goes_is_an_option(pg):
    """F7.10: possession goes on."""
    passing = SELECT._replace(grantable=True)
    for fact in (SELECT, passing, SELECT):
        outcome = pg.visit(BOTH, [*OBJECTS, fact])
        assert outcome.summary["revoked"] == 0
    assert intervals(Grant, privilege="SELECT") == [(0, 0, 1, "changed"), (0, 1, 2, "changed"), (0, 2, None, None)]
    assert log("app") == [
        (["options"], {"options": [described(passing, option="grantable", added=True)]}),
        (["options"], {"options": [described(SELECT, option="grantable", added=False)]}),
    ]


def test_options_of_memberships(pg):
    """F7.10: reported one by one; what is reached follows."""
    facts = [
        IN_TEAM,
        IN_TEAM._replace(admin_option=True),
        IN_TEAM._replace(admin_option=True, inherit=False, set_option=False),
    ]
    for fact in facts:
        outcome = pg.visit(BOTH, (), [fact])
    assert (outcome.summary["joined"], outcome.summary["left"]) == (0, 0)
    assert intervals(Membership) == [(0, 0, 1, "changed"), (0, 1, 2, "changed"), (0, 2, None, None)]
    now = {"role": "team", "admin_option": True, "inherit": False, "set_option": False}
    assert log("app") == [
        (["options"], {"options": [now | {"inherit": True, "set_option": True, "option": "admin_option", "added": True}]}),
        (["options"], {"options": [now | {"option": name, "added": False} for name in ("inherit", "set_option")]}),
    ]  # fmt: skip
    reach = RoleReach.objects.get()
    assert (reach.inherits, reach.can_set, reach.is_admin) == (False, False, True)


def test_noinherit_of_a_role_is_an_option_of_it(pg):
    """F7.10: up to PostgreSQL 15 it is an attribute, and each membership of the role changes."""
    noinherit = grant("app", "NOINHERIT", "attribute")
    pg.visit(BOTH, (), [IN_TEAM])
    pg.visit(BOTH, [noinherit], [IN_TEAM._replace(inherit=False)])
    pg.visit(BOTH, (), [IN_TEAM])
    for (events, details), added in zip(log("app"), (False, True), strict=True):
        assert (events, details.keys()) == (["options"], {"options"})
        of_membership, of_role = details["options"]
        assert (of_membership["role"], of_membership["option"], of_membership["added"]) == ("team", "inherit", added)
        assert of_role == {"option": "inherit", "added": added}
    assert intervals(Grant, privilege="NOINHERIT") == [(1, 1, 2, "revoked")]


def test_what_was_lost_and_given_again_is_held_since_then(pg):
    """F7.10"""
    pg.visit(BOTH, [*OBJECTS, SELECT], [IN_TEAM])
    pg.visit(BOTH, OBJECTS)
    pg.visit(BOTH, [*OBJECTS, SELECT], [IN_TEAM])
    expected = [(0, 0, 1, "revoked"), (2, 2, None, None)]
    assert (intervals(Grant, privilege="SELECT"), intervals(Membership)) == (expected, expected)
    assert log("app")[0] == (
        ["memberships", "privileges"],
        {
            "left": [{"role": "team", "admin_option": False, "inherit": True, "set_option": True}],
            "revoked": [described(SELECT)],
        },
    )


# Grantors


def test_other_grantors_are_an_event(pg):
    """F7.10: one more, one less."""
    by = [("boss",), ("ada", "boss"), ("ada",)]
    for names in by:
        pg.visit(BOTH, [*OBJECTS, SELECT._replace(grantors=names)], [IN_TEAM._replace(grantors=names)])
    in_team = {"role": "team", "admin_option": False, "inherit": True, "set_option": True}
    for (events, details), added, removed in zip(log("app"), (["ada"], []), ([], ["boss"]), strict=True):
        assert events == ["grantors"]
        names = {"added": added, "removed": removed}
        assert details == {"grantors": [in_team | names, described(SELECT, **names)]}
    for model in (Membership, Grant.objects.filter(privilege="SELECT")):
        rows = getattr(model, "objects", model).order_by("since")
        assert list(rows.values_list("grantors", flat=True)) == [list(names) for names in by]
        assert set(rows.values_list("held_since", flat=True)) == {MAY_1}


def test_a_renamed_grantor_is_no_event_of_what_it_granted(pg):
    """F7.10: its name changes where it stands, also out of sight and where two swap their names."""
    granted = SELECT._replace(grantors=("team",))
    pg.visit([*BOTH, role("boss", 3)], [*OBJECTS, granted], [IN_TEAM._replace(grantors=("boss", "team"))])
    renamed = [APP, role("crew", 2), role("boss", 3)]
    in_crew = MembershipFact(APP.key, ("crew", ""), grantors=("boss", "crew"))
    pg.visit(renamed, [SHOP], [in_crew], unread("shop"))
    assert (log("app"), intervals(Membership)) == ([], [(0, 0, None, None)])
    assert Grant.objects.get(privilege="SELECT").grantors == ["crew"]
    swapped = [APP, role("boss", 2), role("crew", 3)]
    pg.visit(swapped, [*OBJECTS, granted._replace(grantors=("boss",))], [in_crew._replace(role=("boss", ""))])
    assert log("app") == []
    assert Grant.objects.get(privilege="SELECT").grantors == ["boss"]
    assert Grant.objects.get(privilege="SELECT").unobserved_since is None


def test_grantors_that_were_not_named_before_are_no_event(pg):
    """F7.10: PostgreSQL names those of memberships from 16 on."""
    pg.visit(BOTH, (), [IN_TEAM])
    pg.visit(BOTH, (), [IN_TEAM._replace(grantors=("boss",))])
    assert (n_changes(), Membership.objects.get().grantors) == (0, ["boss"])


# Objects


RENAMES = [
    # what the server has afterwards, and the lines of the log
    (
        "table",
        [SHOP, A, B, T._replace(scope="shop.a.u")],
        [SELECT._replace(scope="shop.a.u"), UPDATE._replace(scope="shop.a.u.c")],
        [("table", "shop.a.t", "shop.a.u")],
    ),
    (
        "moved",
        [SHOP, A, B, T._replace(scope="shop.b.t")],
        [SELECT._replace(scope="shop.b.t"), UPDATE._replace(scope="shop.b.t.c")],
        [("table", "shop.a.t", "shop.b.t")],
    ),
    (
        "schema",
        [SHOP, A._replace(scope="shop.c"), B, T._replace(scope="shop.c.t")],
        [SELECT._replace(scope="shop.c.t"), UPDATE._replace(scope="shop.c.t.c")],
        [("schema", "shop.a", "shop.c")],
    ),
    (
        "schemas swapped",
        [SHOP, A._replace(scope="shop.b"), B._replace(scope="shop.a"), T._replace(scope="shop.b.t")],
        [SELECT._replace(scope="shop.b.t"), UPDATE._replace(scope="shop.b.t.c")],
        [("schema", "shop.a", "shop.b")],
    ),
    (
        "database",
        [fact._replace(scope=f"store{fact.scope[4:]}", database="store") for fact in OBJECTS],
        [fact._replace(scope=f"store{fact.scope[4:]}", database="store") for fact in (SELECT, UPDATE)],
        [("database", "shop", "store")],
    ),
    (
        "column",
        OBJECTS,
        [SELECT, UPDATE._replace(scope="shop.a.t.d")],
        [("column", "shop.a.t.c", "shop.a.t.d")],
    ),
    (
        "schema and table",
        [SHOP, A._replace(scope="shop.c"), B, T._replace(scope="shop.c.u")],
        [SELECT._replace(scope="shop.c.u"), UPDATE._replace(scope="shop.c.u.c")],
        [("table", "shop.a.t", "shop.c.u")],
    ),
]


@pytest.mark.parametrize(("what", "objects", "held_then", "lines"), RENAMES, ids=[case[0] for case in RENAMES])
def test_a_renamed_object_is_one_line_and_no_loss(pg, what, objects, held_then, lines):
    """F7.10: the outermost name that changed, whoever holds how much on it."""
    pg.visit(BOTH, [*OBJECTS, SELECT, UPDATE])
    outcome = pg.visit(BOTH, [*objects, *held_then])
    assert (outcome.summary["granted"], outcome.summary["revoked"]) == (0, 0)
    assert held("app") == {(fact.privilege, fact.scope, MAY_1) for fact in held_then}
    expected = [{"kind": kind, "from": before, "to": after} for kind, before, after in lines]
    assert log("app") == [(["objects"], {"renamed_objects": expected})]
    assert not Grant.objects.exclude(ended="changed").exclude(until=None).exists()


def test_two_tables_that_swap_their_names(pg):
    """F7.10: the rights follow the tables."""
    u = owner("table", "shop.a.u", "5/52")
    pg.visit(BOTH, [*OBJECTS, u, SELECT])
    pg.visit(BOTH, [SHOP, A, B, T._replace(scope="shop.a.u"), u._replace(scope="shop.a.t"), SELECT._replace(scope="shop.a.u")])  # fmt: skip
    assert held("app") == {("SELECT", "shop.a.u", MAY_1)}
    assert log("app") == [(["objects"], {"renamed_objects": [{"kind": "table", "from": "shop.a.t", "to": "shop.a.u"}]})]


def test_a_database_that_was_renamed_and_cannot_be_read_loses_nothing(pg):
    """F7.14: what is in it stands under its new name, unobserved; read again, nothing has changed."""
    pg.visit(BOTH, [*OBJECTS, SELECT])
    store = SHOP._replace(scope="store", database="store")
    pg.visit(BOTH, [store], (), unread("store"))
    assert intervals(Grant, privilege="SELECT") == [(0, 0, 1, "changed"), (0, 1, None, None)]
    now = Grant.objects.get(privilege="SELECT", until=None)
    assert (now.database, now.scope, now.unobserved_since) == ("store", "store.a.t", MAY_1)
    line = {"kind": "database", "from": "shop", "to": "store"}
    assert log("app") == [(["objects"], {"renamed_objects": [line]})]
    pg.visit(BOTH, [store], (), unread("store"))
    everything = [fact._replace(scope=f"store{fact.scope[4:]}", database="store") for fact in (*OBJECTS, SELECT)]
    pg.visit(BOTH, everything)
    now.refresh_from_db()
    assert (now.until, now.unobserved_since, len(log("app"))) == (None, None, 1)


def test_two_databases_that_swap_their_names_and_cannot_be_read(pg):
    """F7.14"""
    lab = owner("database", "lab", "6")
    of_lab = grant("app", "SELECT", "table", "lab.a.t", "6/51", grantable=True)
    pg.visit(BOTH, [*OBJECTS, lab, SELECT, of_lab])
    swapped = [SHOP._replace(scope="lab", database="lab"), lab._replace(scope="shop", database="shop")]
    pg.visit(BOTH, swapped, (), [*unread("shop"), *unread("lab")])
    rows = Grant.objects.filter(privilege="SELECT", until=None).values_list("object_id", "scope", "held_since")
    assert set(rows) == {("5/51", "lab.a.t", MAY_1), ("6/51", "shop.a.t", MAY_1)}


# Dropped, and created again


def test_what_was_dropped_says_so(pg):
    """F7.10: a right on an object that is gone was not revoked, with its columns."""
    pg.visit(BOTH, [*OBJECTS, SELECT, UPDATE])
    pg.visit(BOTH, [SHOP, A, B])
    assert ended("SELECT") + ended("UPDATE") == [
        ("app", "shop.a.t", "dropped", 1),
        ("app", "shop.a.t.c", "dropped", 1),
    ]
    revoked = [described(UPDATE, dropped=True), described(SELECT, dropped=True)]
    assert log("app") == [(["privileges"], {"revoked": revoked})]


def test_a_table_that_was_created_again_has_new_rights(pg):
    """F7.10: they are held since now, whether granted again or not."""
    insert = SELECT._replace(privilege="INSERT")
    pg.visit(BOTH, [*OBJECTS, SELECT, insert])
    again = SELECT._replace(object_id="5/99")
    pg.visit(BOTH, [SHOP, A, B, T._replace(object_id="5/99"), again])
    assert held("app") == {("SELECT", "shop.a.t", MAY_1 + DAY)}
    assert log("app") == [
        (
            ["privileges"],
            {
                "granted": [described(again)],
                "revoked": [described(insert, dropped=True), described(SELECT, dropped=True)],
                "recreated": [{"kind": "table", "scope": "shop.a.t"}],
            },
        )
    ]


def test_a_database_that_was_created_again_and_cannot_be_read(pg):
    """F7.14: dropping it proves what is over, also where nothing could be read."""
    pg.visit(BOTH, [*OBJECTS, SELECT])
    pg.visit(BOTH, [SHOP._replace(object_id="77")], (), unread("shop"))
    assert ended("SELECT") == [("app", "shop.a.t", "dropped", 1)]
    assert log("app")[0][1]["revoked"] == [described(SELECT, dropped=True)]


def test_a_name_that_another_object_took_where_not_all_was_read(pg):
    """F7.14: what is certain is kept: two objects cannot have one name."""
    u = owner("table", "shop.a.u", "5/52")
    pg.visit(BOTH, [*OBJECTS, u, SELECT, SELECT._replace(scope="shop.a.u", object_id="5/52")])
    cut = [Gap("table", "row_limit", "too many", "shop")]
    pg.visit(BOTH, [SHOP, A, B, SELECT._replace(scope="shop.a.u")], (), cut)
    assert held("app") == {("SELECT", "shop.a.u", MAY_1)}
    assert ("app", "shop.a.u", "dropped", 1) in ended("SELECT")


# The guard


def rights(n: int, schema: str = "a", oid: int = 1000, **fields: Any) -> list[GrantFact]:
    """Tables in a schema, owned by postgres, on which app may SELECT."""
    return [
        fact._replace(**fields)
        for number in range(n)
        for fact in (
            owner("table", f"shop.{schema}.t{number}", f"5/{oid + number}"),
            grant("app", "SELECT", "table", f"shop.{schema}.t{number}", f"5/{oid + number}"),
        )
    ]


@pytest.mark.parametrize(
    "after",
    [
        [SHOP, A._replace(scope="shop.c"), *rights(150, "c")],
        [SHOP, A, *rights(150, oid=5000)],
        [SHOP],
        [SHOP._replace(object_id="6"), A._replace(object_id="6/1")],
    ],
    ids=["renamed", "created again", "schema dropped", "database created again"],
)
def test_what_was_renamed_dropped_or_created_again_is_no_shrink(pg, after):
    """F7.10"""
    pg.visit(BOTH, [SHOP, A, *rights(150)])
    assert pg.visit(BOTH, after).summary


def test_rights_that_end_on_what_is_there_are_held(pg):
    """F7.10"""
    inserts = [fact._replace(privilege="INSERT") for fact in rights(150) if fact.privilege == "SELECT"]
    pg.visit(BOTH, [SHOP, A, *rights(150), *inserts])
    with pytest.raises(ImplausibleShrink):
        pg.visit(BOTH, [SHOP, A])
    owners = [fact for fact in rights(150, "c") if fact.privilege == "OWNER"]
    with pytest.raises(ImplausibleShrink, match="300 of 452"):
        pg.visit(BOTH, [SHOP, A._replace(scope="shop.c"), *owners])


# The first visit after the upgrade


def test_the_first_visit_after_an_upgrade_adopts_what_it_reads(pg):
    """F7.10: without an event, in the rows that are there; no alert is raised."""
    facts = [*OBJECTS, SELECT._replace(grantors=("boss",)), UPDATE, grant("app", "LOGIN", "attribute")]
    memberships = [IN_TEAM._replace(grantors=("boss",))]
    pg.visit(BOTH, facts, memberships)
    forget_identity()
    Coverage.objects.update(digest="")
    before = list(Grant.objects.order_by("pk").values("pk", "since", "held_since", "until", "scope"))
    outcome = pg.visit(BOTH, facts, memberships)
    assert (n_changes(), outcome.summary["granted"], outcome.summary["revoked"]) == (0, 0, 0)
    assert list(Grant.objects.order_by("pk").values("pk", "since", "held_since", "until", "scope")) == before
    adopted = Grant.objects.get(privilege="SELECT")
    assert (adopted.object_id, adopted.grantors) == ("5/51", ["boss"])
    assert Membership.objects.get().grantors == ["boss"]
    assert not Grant.objects.filter(object_id=None).exists()


def test_what_changed_meanwhile_is_told_on_adoption(pg):
    """F7.10: options and rights, not ids."""
    pg.visit(BOTH, [*OBJECTS, SELECT, UPDATE])
    forget_identity()
    pg.visit(BOTH, [*OBJECTS, SELECT._replace(grantable=True)])
    assert log("app")[0][0] == ["privileges", "options"]
    assert intervals(Grant, privilege="SELECT") == [(0, 0, 1, "changed"), (0, 1, None, None)]
    assert ended("UPDATE") == [("app", "shop.a.t.c", "revoked", 1)]


def test_a_database_that_cannot_be_read_then_is_adopted_later(pg):
    """F7.14: also if it was renamed in between."""
    pg.visit(BOTH, [*OBJECTS, SELECT])
    forget_identity()
    pg.visit(BOTH, [SHOP], (), unread("shop"))
    store = SHOP._replace(scope="store", database="store")
    pg.visit(BOTH, [store], (), unread("store"))
    everything = [fact._replace(scope=f"store{fact.scope[4:]}", database="store") for fact in (*OBJECTS, SELECT)]
    pg.visit(BOTH, everything)
    assert held("app") == {("SELECT", "store.a.t", MAY_1)}
    assert [events for events, _ in log("app")] == [["objects"]]
    assert Grant.objects.get(privilege="SELECT", until=None).object_id == "5/51"


def test_shipped_rights_that_were_stored_end_silently(pg):
    """F7.7: as no longer recorded, and those that were taken away begin silently; later, each is an event."""
    path, oid = "shop.pg_catalog.pg_database", "5/1262"
    shipped = grant("public", "SELECT", "table", path, oid)
    granted = grant("app", "SELECT", "table", path, oid)
    everyone = role("public", kind="public")
    of_column = grant("public", "SELECT", "column", "shop.pg_catalog.pg_sub.c", "5/6100/1")
    of_language = grant("public", "USAGE", "language", "shop.plpgsql", "5/13")
    denied = grant("public", "SELECT", "table", "shop.pg_catalog.pg_proc", "5/1255", denied=True)
    pg.visit([*BOTH, everyone], [*OBJECTS, granted, shipped, of_column, of_language])
    forget_identity()
    pg.visit([*BOTH, everyone], [*OBJECTS, granted, denied])
    assert n_changes() == 0
    assert set(Grant.objects.exclude(until=None).values_list("ended", flat=True)) == {"unrecorded"}
    assert held("app") == {("SELECT", path, MAY_1)}
    pg.visit([*BOTH, everyone], OBJECTS)
    assert [details.keys() for _, details in (*log("app"), *log("public"))] == [{"revoked"}, {"revoked"}]
    pg.visit([*BOTH, everyone], [*OBJECTS, denied])
    assert log("public")[-1] == (["privileges"], {"granted": [described(denied)]})


def test_a_locked_user_that_was_taken_for_a_role_is_no_event(instances):
    """F7.10: the next visit knows better; later, another kind is an event."""
    my = Visits(instances[1])
    app = role("app", kind="role")
    my.visit([app], [grant("app", "SELECT", "database", "shop")])
    forget_identity()
    app = app._replace(kind="user")
    my.visit([app], [grant("app", "SELECT", "database", "shop")])
    assert (n_changes(), Account.objects.get(name="app").kind) == (0, "user")
    my.visit([app._replace(kind="role")], [grant("app", "SELECT", "database", "shop")])
    assert [events for events, _ in log("app")] == [["attributes"]]
