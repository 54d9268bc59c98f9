"""How Oracle combines grants."""

from __future__ import annotations

from ..semantics import Requirement, Semantics

#: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/GRANT.html
ORACLE = Semantics(
    paths={
        "system": 0,
        "attribute": 0,
        "tablespace": 2,
        "schema": 2,
        "proxy": 2,
        "table": 3,
        "sequence": 3,
        "routine": 3,
        "type": 3,
        "object": 4,
        "column": 4,
    },
    containers={"column": ("table",)},
    everything=("system", "SYSDBA"),
    anywhere={
        "table": {
            "SELECT": ("SELECT ANY TABLE",),
            "READ": ("READ ANY TABLE", "SELECT ANY TABLE"),
            **{name: (f"{name} ANY TABLE",) for name in ("INSERT", "UPDATE", "DELETE", "ALTER", "FLASHBACK")},
        },
        "sequence": {name: (f"{name} ANY SEQUENCE",) for name in ("SELECT", "ALTER")},
        "routine": {name: (f"{name} ANY PROCEDURE",) for name in ("EXECUTE", "DEBUG")},
        "type": {name: (f"{name} ANY TYPE",) for name in ("EXECUTE", "UNDER")},
    },
    protected=frozenset({"SYS"}),
    owners=True,
    host_is_database=True,
    unquoted="upper",
    requires=(Requirement("system", "CREATE SESSION", 0, "login"),),
    powerful=frozenset({("system", "SYSDBA")}),
    powerful_roles=frozenset({"DBA"}),
)
