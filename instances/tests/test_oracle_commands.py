"""Oracle in the commands, the API and the admin."""

from __future__ import annotations

import re

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from engines.registry import ENGINES
from engines.target import Target
from engines.tests.oracle_emulated import ServeOracle
from instances.models import Credential, Instance
from instances.tests.api import superclient
from instances.tests.pages import superstaff
from instances.tests.test_commands import run


def stored(target: Target) -> Instance:
    credential = Credential.objects.create(name="ora", username=target.username, password=target.password)
    return Instance.objects.create(
        name="ora",
        engine="oracle",
        host=target.host,
        database=target.database,
        proof="hashes",
        credential=credential,
        level=target.level,
        version="19.24.0.0.0",
        product="Oracle",
    )


def test_a_service_has_to_be_named(db: None) -> None:
    """There is no usual one: said where the instance is made, not where it is visited."""
    credential = Credential.objects.create(name="c", username="u")
    row = Instance(name="ora", engine="oracle", host="db1", credential=credential, database=" ")
    with pytest.raises(ValidationError, match="Enter the database or service"):
        row.full_clean()
    row.database = "shoppdb"
    row.full_clean()
    sent = {"name": "ora", "engine": "oracle", "host": "db1", "credential": credential.pk}
    refused = superclient().post("/api/instances/", sent, format="json")
    assert (refused.status_code, list(refused.json())) == (400, ["database"])
    taken = superclient().post("/api/instances/", {**sent, "database": "shoppdb"}, format="json")
    assert taken.status_code == 201
    Instance(name="pg", engine="postgresql", host="db1", credential=credential).full_clean()


def test_the_page_of_an_instance_says_how_far_its_engine_is_proven(db: None) -> None:
    """Until somebody has run the live suite. Lists and choices have the name alone."""
    assert ENGINES["oracle"].label == "Oracle"
    credential = Credential.objects.create(name="c", username="u")
    row = Instance.objects.create(name="ora", engine="oracle", host="db1", database="s", credential=credential)
    client, words = superstaff(), "emulated catalogues only, not on a real server"
    assert words in client.get(reverse("admin:instances_instance_change", args=[row.pk])).content.decode()
    assert "emulated" not in client.get(reverse("admin:instances_instance_changelist")).content.decode()


def test_the_script(db: None) -> None:
    code, told = run("print_grants", "oracle")
    statements = [line for line in told.splitlines() if not line.startswith("--")]
    assert code == 0
    assert statements[:3] == [
        'CREATE USER TAIFISH IDENTIFIED BY "…";',
        "GRANT CREATE SESSION TO TAIFISH;",
        "GRANT SELECT ON SYS.DBA_USERS TO TAIFISH;",
    ]
    assert all(re.fullmatch(r"GRANT SELECT ON SYS\.(DBA_|V_\$)\w+ TO TAIFISH;", line) for line in statements[2:])
    deeper = {level: set(run("print_grants", "oracle", "--level", level)[1].splitlines()) for level in "ABC"}
    more = {line for line in deeper["B"] - deeper["A"] if line.startswith("GRANT")}
    assert more == {f"GRANT SELECT ON SYS.DBA_{name} TO TAIFISH;" for name in ("SCHEMA_PRIVS", "TAB_PRIVS", "OBJECTS")}
    more = {line for line in deeper["C"] - deeper["B"] if line.startswith("GRANT")}
    assert more == {"GRANT SELECT ON SYS.DBA_COL_PRIVS TO TAIFISH;"}
    assert "nothing else needs to be denied" in run("print_grants", "oracle", "--hash-blind")[1]


def test_the_script_for_the_root(db: None) -> None:
    told = run("print_grants", "oracle", "--account", "c##taifish", "--level", "B")[1]
    statements = [line for line in told.splitlines() if not line.startswith("--")]
    assert statements[:3] == [
        'CREATE USER C##TAIFISH IDENTIFIED BY "…" CONTAINER=ALL;',
        "GRANT CREATE SESSION, SET CONTAINER TO C##TAIFISH CONTAINER=ALL;",
        "ALTER USER C##TAIFISH SET CONTAINER_DATA=ALL CONTAINER=CURRENT;",
    ]
    views = {found[1] for line in statements[3:] if (found := re.match(r"GRANT SELECT ON SYS\.(\S+) TO", line))}
    assert {"CDB_USERS", "V_$CONTAINERS", "DBA_CONTAINER_DATA", "CDB_TABLESPACE_USAGE_METRICS"} <= views
    assert not any(view.startswith("DBA_") for view in views - {"DBA_CONTAINER_DATA"})
    assert {line.endswith(" CONTAINER=ALL;") for line in statements[3:]} == {True}


def test_the_script_for_an_instance_and_its_version(db: None) -> None:
    stored(Target("oracle", "db1", "odd name", "pw", database="shoppdb", level="B"))
    told = run("print_grants", "oracle", "--for", "ora")[1]
    assert 'TO "odd name";' in told
    assert "SCHEMA_PRIVS" not in told


def test_the_check_and_the_visit(db: None, serve_oracle: ServeOracle) -> None:
    server = serve_oracle("19c PDB")
    stored(server.collector())
    code, told = run("test_connection", "ora")
    assert (code, told.startswith("ora: Oracle 19.24.0.0.0")) == (0, True), told
    code, told = run("check_instance", "ora")
    assert (code, "NO " in told) == (0, False), told
    assert "yes grants on columns (DBA_COL_PRIVS)" in re.sub(" +", " ", told)
    server.denied = {"SYS.DBA_ROLE_PRIVS"}
    code, told = run("check_instance", "ora")
    assert code == 3
    assert "missing: GRANT SELECT ON SYS.DBA_ROLE_PRIVS TO TAIFISH;" in told
    assert "without it unknown: memberships: those of the last successful read remain." in told
    answer = superclient().post(f"/api/instances/{Instance.objects.get().pk}/check/").json()
    (lost,) = [capability for capability in answer["capabilities"] if not capability["works"]]
    assert lost["missing"] == "GRANT SELECT ON SYS.DBA_ROLE_PRIVS TO TAIFISH;"
