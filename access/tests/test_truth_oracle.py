"""F7.1 on Oracle: the answers against a model of the documentation, which shares no code with the product.

On the emulated dictionary of engines/tests/oracle_emulated.py: not on an Oracle server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from random import Random

import pytest

from access.matrix import matrix
from access.question import Question
from access.questions import effective, who_can
from access.tests import reference_oracle as reference
from access.tests.reference_oracle import Asked, Container
from access.tests.test_truth_mysql import having
from accounts.models import Account, Grant
from accounts.tests.test_oracle import Visited, visited  # noqa: F401 -- a fixture
from engines.tests.oracle_emulated import SHAPES, Emulated, ServeOracle
from instances.models import Instance

#: What runs in `make test`, and at length.
FEW, MANY = range(20), range(100)

#: The best use first.
USES = ("login", "switch", "blocked")

#: (name, container) → use
Uses = dict[tuple[str, str], str]


def furnish(server: Emulated, seed: int, public_roles: bool) -> dict[str, Container]:
    """Add a random set-up to the dictionary, and return what the model makes of it, by container."""
    pdbs = [pdb for pdb in server.pdbs if pdb.is_shown] if server.in_root else [server.here]
    containers = {pdb.number: pdb.name for pdb in pdbs}
    of_number = {pdb.number: pdb for pdb in pdbs}
    with_schemas = server.version >= (23, 0)
    made = reference.setup(Random(seed), containers, with_schemas=with_schemas, public_roles=public_roles)
    for view, rows in made.items():
        for row in rows:
            pdb = of_number[row["CON_ID"]]
            values = {name: value for name, value in row.items() if name != "CON_ID"}
            match view:
                case "USERS":
                    server.user_row(values.pop("USERNAME"), pdb, **values)
                case "ROLES":
                    server.add("ROLES", pdb, ORACLE_MAINTAINED="N", COMMON="NO", **values)
                case "PWFILE":
                    entry = server.pwfile(row["USERNAME"], "SYSDBA", pdb=pdb, common=row["COMMON"])
                    server.rows["V$PWFILE_USERS"].append(entry)
                case "ROLE_PRIVS" | "SYS_PRIVS" | "SCHEMA_PRIVS":
                    server.add(view, pdb, ADMIN_OPTION="NO", **values)
                case _:
                    server.add(view, pdb, GRANTABLE="NO", GRANTOR=row["OWNER"], **values)
    # Visits leave out what Oracle's own accounts may do with its own objects.
    own = {"TAB_PRIVS": made["TAB_PRIVS"], "PWFILE": server.rows["V$PWFILE_USERS"]}
    return {name: Container({**server.rows, **own}, number, name) for number, name in containers.items()}


def best(uses: list[tuple[tuple[str, str], str]]) -> Uses:
    found: Uses = {}
    for key, use in uses:
        found[key] = min(use, found.get(key, use), key=USES.index)
    return found


def expected(containers: Mapping[str, Container], asked: Asked) -> Uses:
    """What the model says. A question about the instance is one about all containers."""
    own = {asked[2].partition(".")[0]} if asked[2] else {*containers}
    return {
        (name, one.name): use
        for one in containers.values()
        if one.name in own
        for name in one.accounts()
        if (use := one.use(name, asked))
    }


def in_matrix(containers: Mapping[str, Container]) -> dict[Asked, Uses]:
    """What the matrix of each container says. Rights on all objects are shown once, and do not all apply to those of
    SYS."""
    found: dict[Asked, Uses] = {}
    for container in containers:
        asked = [one for one in reference.questions(container) if ".SYS." not in one[2] and one[1] != "column"]
        uses: dict[Asked, list[tuple[tuple[str, str], str]]] = defaultdict(list)
        for account, thing, rights in matrix(container, instances=Instance.objects.all()).cells():
            for right in rights:
                for privilege, kind, path in asked:
                    within = thing.path in ("", path) or path.startswith(f"{thing.path}.")
                    every = thing.every and thing.kind in ("", kind) and within
                    mine = (thing.every, thing.kind, thing.path) == (False, kind, path) and not right.columns
                    wide = ("OWNER", "SYSDBA") if thing.every else ()
                    schema = (thing.every, thing.kind, thing.path) == (False, "schema", path.rpartition(".")[0])
                    of_schema = schema and right.privilege == reference.any_privilege(privilege, kind)
                    if of_schema or ((every or mine) and right.privilege in (privilege, *wide)):
                        uses[privilege, kind, path].append(((account.name, account.host), right.usable))
        found |= {one: best(uses[one]) for one in asked}
    return found


def one_set_up(visited: Visited, serve_oracle: ServeOracle, seed: int, public_roles: bool = False) -> None:  # noqa: F811
    server = serve_oracle([*SHAPES][seed % len(SHAPES)])
    containers = furnish(server, seed, public_roles)
    assert visited(server).gaps == []
    of_matrix = in_matrix(containers)
    every = [one for name in containers for one in reference.questions(name)]
    every += [(privilege, "system", "") for privilege in reference.SYSTEM]
    for asked in every:
        privilege, kind, path = asked
        truth = expected(containers, asked)
        if Grant.objects.filter(privilege=privilege).exists():
            rows = [row for row in who_can(privilege, path, kind=kind).rows if not row.columns]
            said = best([((row.account.name, row.account.host), row.usable) for row in rows])
            assert said == truth, f"seed {seed}, who can {asked}: {sorted(said.items() ^ truth.items())}"
        public = {container for name, container in truth if name == "PUBLIC"}
        having_it = {*truth} | {(name, one) for one in public for name in containers[one].accounts()}
        held = Account.objects.filter(pk__in=having(Question(privilege, path, kind), None))
        rules = {*held.values_list("name", "host")}
        assert rules == having_it, f"seed {seed}, rules {asked}: {sorted(rules ^ having_it)}"
        if asked in of_matrix:
            shown = of_matrix[asked]
            assert shown == truth, f"seed {seed}, matrix {asked}: {sorted(shown.items() ^ truth.items())}"
    for account in Account.objects.select_related("instance"):
        rights = effective(account)
        listed = {
            (one.account.name, one.kind, one.privilege, one.scope): "login" if rights.at_once(one) else "switch"
            for one in rights.grants.exclude(kind="attribute")
        }
        truth_of = containers[account.host].sources(account.name)
        assert listed == truth_of, f"seed {seed}, effective {account}: {sorted(listed.items() ^ truth_of.items())}"


@pytest.mark.parametrize("seed", FEW)
def test_the_answers_are_those_of_the_documentation(visited, serve_oracle, seed):  # noqa: F811
    """F7.1: who can, the holders of rules, the matrix and effective rights, by ANY privileges, schemas, roles within
    roles, PUBLIC, default roles, CREATE SESSION and locks, in each container; without one, in a PDB and in the root."""
    one_set_up(visited, serve_oracle, seed)


@pytest.mark.parametrize("seed", FEW)
def test_roles_of_public_are_those_of_all(visited, serve_oracle, seed):  # noqa: F811
    """F7.1: a role that is granted to PUBLIC is every user's."""
    one_set_up(visited, serve_oracle, seed, public_roles=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", MANY)
def test_the_answers_are_those_of_the_documentation_at_length(visited, serve_oracle, seed):  # noqa: F811
    """F7.1: the same, 100 set-ups."""
    one_set_up(visited, serve_oracle, 1000 + seed)
