"""The relation's sessions and chains on random memberships, against every path written out."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.chains import Chains, Edge
from access.question import Question
from access.questions import effective, holdings
from accounts import closure
from accounts.models import Account, Grant, Membership
from accounts.tests.stored import MAY_1, account
from instances.models import Instance

NODES = range(6)


def random_edges(rnd: Random) -> list[Edge]:
    pairs = [(member, role) for member in NODES for role in NODES if member != role]
    chosen = rnd.sample(pairs, rnd.randrange(13))
    return [Edge(member, role, rnd.random() < 0.6, rnd.random() < 0.6, MAY_1) for member, role in chosen]


def every_path(edges: list[Edge], start: int, end: int) -> list[list[Edge]]:
    """All paths from start to end that pass no account twice, by writing them out."""
    found, unfinished = [[]] if start == end else [], [[edge] for edge in edges if edge.member == start]
    while unfinished:
        path = unfinished.pop()
        if path[-1].role == end:
            found.append(path)
        visited = {start} | {edge.role for edge in path}
        unfinished += [[*path, edge] for edge in edges if edge.member == path[-1].role and edge.role not in visited]
    return found


def all_have(paths: list[list[Edge]], option: str) -> list[list[Edge]]:
    return [path for path in paths if all(getattr(edge, option) for edge in path)]


@given(st.randoms(use_true_random=False))
def test_chains_are_the_shortest_that_the_options_allow(rnd: Random) -> None:
    """F1.9: by SET ROLE to the session, then by inheritance to where it begins."""
    edges = random_edges(rnd)
    chains = Chains(edges)
    for account_ in NODES:
        for session in NODES:
            switching = all_have(every_path(edges, account_, session), "set_option")
            for entry in NODES:
                inheriting = all_have(every_path(edges, session, entry), "inherit")
                if not (switching and inheriting):
                    with pytest.raises(KeyError):
                        chains.chain(account_, session, entry)
                    continue
                chain = chains.chain(account_, session, entry)
                assert len(chain) == min(map(len, switching)) + min(map(len, inheriting))
                steps = [account_, *(edge.role for edge in chain)]
                assert steps[-1] == entry
                assert [edge.member for edge in chain] == steps[:-1]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_sessions_of_random_memberships(instances: list[Instance], rnd: Random) -> None:
    """F7.1: at login by inheritance, else after SET ROLE; the same now, in the past, and from the account upwards."""
    instance = instances[0]
    Account.objects.filter(instance=instance).delete()
    people = [account(instance, f"n{node}") for node in NODES]
    edges = random_edges(rnd)
    Membership.objects.bulk_create(
        Membership(
            member=people[edge.member], role=people[edge.role], inherit=edge.inherit, set_option=edge.set_option,
            admin_option=False, since=MAY_1, held_since=MAY_1,
        )
        for edge in edges
    )  # fmt: skip
    with transaction.atomic():
        closure.rebuild(instance.pk)
    grants = {}
    holder = rnd.choice(NODES)
    for kind, scope, privilege in (("database", "shop", "CREATE"), ("attribute", "", "CREATEROLE")):
        grants[kind] = Grant.objects.create(
            account=people[holder], kind=kind, database=scope, scope=scope, privilege=privilege,
            grantable=False, denied=False, since=MAY_1, held_since=MAY_1,
        )  # fmt: skip
    expected = {}
    for node in NODES:
        by_session = {
            session
            for session in NODES
            if all_have(every_path(edges, node, session), "set_option")
            and all_have(every_path(edges, session, holder), "inherit")
        }
        if by_session:
            expected["database", node] = node in by_session
        # Attributes are not inherited.
        if all_have(every_path(edges, node, holder), "set_option"):
            expected["attribute", node] = node == holder
    ids = {person.pk: node for node, person in enumerate(people)}
    for at in (None, timezone.now() - timedelta(seconds=1)):
        found = {}
        for kind, question in (("database", Question("CREATE", "shop")), ("attribute", Question("CREATEROLE", ""))):
            rows, _needs = holdings(question, [instance.pk], at)
            found |= {(kind, ids[row.account]): row.session == row.account for row in rows}
        assert found == expected
        upwards = {}
        for node, person in enumerate(people):
            rights = effective(person, at)
            upwards |= {(grant.kind, node): rights.at_once(grant) for grant in rights.grants}
        assert upwards == expected
