"""Privileges on *.* that only some versions have.

https://dev.mysql.com/doc/refman/9.4/en/privileges-provided.html#privileges-provided-dynamic
https://mariadb.com/kb/en/grant/#global-privileges
"""

from __future__ import annotations

from ..versions import OnlyIn, Version

_SINCE: dict[Version, tuple[str, ...]] = {
    (8, 0, 14): ("SERVICE_CONNECTION_ADMIN", "SESSION_VARIABLES_ADMIN"),
    (8, 0, 16): ("SYSTEM_USER", "TABLE_ENCRYPTION_ADMIN"),
    (8, 0, 17): ("CLONE_ADMIN", "INNODB_REDO_LOG_ARCHIVE"),
    (8, 0, 18): ("REPLICATION_APPLIER",),
    (8, 0, 20): ("SHOW_ROUTINE",),
    (8, 0, 21): ("INNODB_REDO_LOG_ENABLE",),
    (8, 0, 23): ("FLUSH_OPTIMIZER_COSTS", "FLUSH_STATUS", "FLUSH_TABLES", "FLUSH_USER_RESOURCES"),
    (8, 0, 27): (
        "AUTHENTICATION_POLICY_ADMIN",
        "FIREWALL_EXEMPT",
        "GROUP_REPLICATION_STREAM",
        "PASSWORDLESS_USER_ADMIN",
    ),
    (8, 0, 28): ("AUDIT_ABORT_EXEMPT",),
    (8, 0, 29): ("SENSITIVE_VARIABLES_OBSERVER",),
    (8, 0, 33): ("TELEMETRY_LOG_ADMIN",),
    (8, 2): ("ALLOW_NONEXISTENT_DEFINER", "SET_ANY_DEFINER"),
    (8, 4): ("FLUSH_PRIVILEGES", "OPTIMIZE_LOCAL_TABLE", "TRANSACTION_GTID_TAG"),
    # MariaDB
    (11, 3): ("SHOW CREATE ROUTINE",),
}

ONLY_IN = (
    *(OnlyIn("system", name, since=since) for since, names in _SINCE.items() for name in names),
    # Replaced by the two of 8.2.
    OnlyIn("system", "SET_USER_ID", until=(8, 4)),
)
