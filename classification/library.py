"""The rules shipped with Taifish, as data. They are installed once; users may then change them.

The wording is ours; `mapping` cites item numbers only. PCI is PCI DSS 4, STIG the DISA guides by rule number, MLPS
GB/T 22239-2019, CIS the benchmark of the engine. Rules that need a fact no visit reads yet are left out: hba lines,
empty, default and second passwords, their policies, definer functions, links, proxies, reviews, ends of an elevation,
EXECUTE of PUBLIC on Oracle's packages.

Names are stored in English and shown in the reader's language: a changed name is untranslated where it is installed.
"""

from __future__ import annotations

from typing import NamedTuple

from django.db import transaction
from django.utils.translation import gettext_noop as _

from . import services
from .models import Classification, ClassificationRule


class Kind(NamedTuple):
    """One classification."""

    code: str
    name: str
    risk: str
    colour: str
    priority: int
    note: str = ""


class Shipped(NamedTuple):
    """One rule. Inactive ones match too much, or nothing yet, on most servers: users enable them."""

    code: str
    classification: str
    name: str
    expression: str
    engine: str = ""
    mapping: str = ""
    active: bool = True


CLASSIFICATIONS = [
    Kind("all-powerful", _("All-powerful"), "critical", "#b91c1c", 10),
    Kind("escalation", _("Can become all-powerful"), "critical", "#be123c", 20),
    Kind("open-door", _("Open door"), "critical", "#c2410c", 30, "Anybody may come in, or from anywhere."),
    Kind("account-admin", _("Rules over accounts"), "high", "#d97706", 40),
    Kind("wide-data", _("Reads or writes all data"), "high", "#ca8a04", 50),
    Kind("server-access", _("Reaches into the server"), "high", "#a16207", 60),
    Kind("passes-on", _("Passes rights on"), "high", "#7c3aed", 70),
    Kind("new-power", _("Newly powerful"), "high", "#db2777", 80),
    Kind("everybody", _("Given to everybody"), "medium", "#2563eb", 90),
    Kind("weak-identity", _("Weak identity"), "medium", "#0284c7", 100, "Shared names, old passwords, weak methods."),
    Kind("left-over", _("Left over"), "low", "#64748b", 110),
    Kind(
        "approved-admin", _("Approved administrator"), "none", "#15803d", 900, "Assigned by people; rules leave it out."
    ),
]

_ADMIN = 'assigned("approved-admin")'
_PG, _MY, _OR = "postgresql", "mysql", "oracle"

RULES = [
    # All engines
    Shipped(
        "all-01",
        "all-powerful",
        _("May do everything, itself or through a role, and is no approved administrator"),
        f'can_login and (superuser or has("SUPERUSER") or has("SUPER", on="")) and not {_ADMIN}',
        mapping="CIS PG 4.3; CIS MySQL 5.1, 5.4; STIG V-61497; MLPS 8.1.4.2 d",
    ),
    Shipped(
        "all-02",
        "left-over",
        _("Not used for 90 days; unknown where the engine does not show it"),
        "can_login and unused_days > 90",
        mapping="PCI 8.2.6; STIG V-61717; CIS PG 4.4; MLPS 8.1.4.2 c",
        active=False,
    ),
    Shipped(
        "all-03",
        "weak-identity",
        _("An account that every server is delivered with can log in"),
        'name("postgres", "root", "sa", "SYS", "SYSTEM") and can_login and not locked',
        mapping="MLPS 8.1.4.2 b; STIG V-61541; CIS 1.2",
    ),
    Shipped(
        "all-04",
        "passes-on",
        _("May pass rights or roles on, and is no administrator"),
        '(has("*", grantable=True, direct=True) or member_of("*", admin=True)) and not superuser and not is_system'
        f" and not {_ADMIN}",
        mapping="CIS MySQL 5.7; STIG V-61421, V-61433, V-61437",
    ),
    Shipped(
        "all-05",
        "weak-identity",
        _("A name that people tend to share"),
        'can_login and name("app", "test*", "dev*", "tmp*", "temp*", "demo*")',
        mapping="MLPS 8.1.4.2 c; PCI 8.2.2",
    ),
    Shipped(
        "all-06",
        "weak-identity",
        _("The password is older than 90 days"),
        "can_login and password_age_days > 90",
        mapping="MLPS 8.1.4.1 a; PCI 8.3.9",
    ),
    Shipped(
        "all-07",
        "left-over",
        _("Locked or expired, and still holds rights or roles"),
        '(locked or expired) and not is_role and not is_system and (has("*", on="*", direct=True)'
        ' or has("*", kind="system", direct=True) or member_of("*"))',
        mapping="MLPS 8.1.4.2 c",
    ),
    Shipped(
        "all-08",
        "new-power",
        _("Got a dangerous right in the last 24 hours"),
        " or ".join(
            f'gained("{one}", within_hours=24)'
            for one in ("SUPERUSER", "CREATEROLE", "BYPASSRLS", "REPLICATION", "SUPER", "FILE", "CREATE USER")
        ),
        mapping="STIG V-61797; ISO 27002 8.2",
    ),
    Shipped(
        "all-11",
        "account-admin",
        _("Writes business data and rules over accounts as well"),
        'not superuser and (has("CREATEROLE") or has("CREATE USER", on="")) and (has("INSERT", on="*") or '
        'has("UPDATE", on="*") or has("DELETE", on="*"))',
        mapping="MLPS 8.1.4.2 d",
        active=False,
    ),
    Shipped(
        "all-12",
        "server-access",
        _("The collection account holds more than it needs"),
        'name("taifish*") and (superuser or has("SUPERUSER") or has("SUPER", on="") or has("FILE") or '
        'has("INSERT", on="") or has("CREATE USER", on=""))',
        mapping="least privilege",
    ),
    # PostgreSQL
    Shipped("pg-01", "all-powerful", _("A superuser that can log in"), "superuser and can_login", _PG),
    Shipped(
        "pg-02", "escalation", _("May switch to a superuser"), 'not superuser and has("SUPERUSER")', _PG, "CIS PG 4.3"
    ),
    Shipped(
        "pg-03",
        "escalation",
        _("Reads or writes files of the server, or runs programs there"),
        'not superuser and not is_system and (member_of("pg_execute_server_program") or '
        'member_of("pg_write_server_files") or member_of("pg_read_server_files"))',
        _PG,
    ),
    Shipped("pg-04", "account-admin", _("Makes and changes roles"), 'not superuser and has("CREATEROLE")', _PG),
    Shipped("pg-05", "wide-data", _("Looks past row security"), 'not superuser and has("BYPASSRLS")', _PG),
    Shipped(
        "pg-06",
        "wide-data",
        _("May copy the whole server as a replica does, and is not named as one"),
        'not superuser and has("REPLICATION") and not name("*repl*")',
        _PG,
    ),
    Shipped(
        "pg-07",
        "wide-data",
        _("Reads or writes all data by a predefined role"),
        'not is_system and (member_of("pg_read_all_data") or member_of("pg_write_all_data"))',
        _PG,
    ),
    Shipped("pg-08", "weak-identity", _("Valid without end"), "can_login and not expires", _PG, active=False),
    Shipped(
        "pg-09",
        "weak-identity",
        _("Any number of connections"),
        "can_login and connection_limit > 1000000",
        _PG,
        "CIS PG 5.5; STIG V-214059",
        active=False,
    ),
    Shipped(
        "pg-10",
        "everybody",
        _("Everybody may create objects in a schema public"),
        'is_public and has("CREATE", on="*.public", kind="schema", direct=True)',
        _PG,
    ),
    Shipped(
        "pg-11",
        "everybody",
        _("Everybody may connect to a database"),
        'is_public and has("CONNECT", kind="database", direct=True)',
        _PG,
        active=False,
    ),
    Shipped(
        "pg-12",
        "everybody",
        _("What is created later will be everybody's"),
        'is_public and has("*", kind="default", direct=True)',
        _PG,
    ),
    Shipped(
        "pg-14",
        "passes-on",
        _("A login that owns a database or a schema"),
        'can_login and not superuser and (has("OWNER", kind="database", direct=True) or '
        'has("OWNER", kind="schema", direct=True))',
        _PG,
        active=False,
    ),
    Shipped(
        "pg-15",
        "all-powerful",
        _("Administrator of a cloud provider's server"),
        'member_of("rds_superuser") or member_of("azure_pg_admin") or member_of("cloudsqlsuperuser")',
        _PG,
    ),
    Shipped(
        "pg-17",
        "server-access",
        _("Maintains tables or ends sessions of others"),
        'not superuser and not is_system and (member_of("pg_maintain") or member_of("pg_signal_backend") or '
        'member_of("pg_checkpoint"))',
        _PG,
        active=False,
    ),
    Shipped(
        "pg-18",
        "everybody",
        _("Everybody may read or change a table"),
        'is_public and (has("SELECT", kind="table", direct=True) or has("INSERT", kind="table", direct=True) or '
        'has("UPDATE", kind="table", direct=True) or has("DELETE", kind="table", direct=True) or '
        'has("TRUNCATE", kind="table", direct=True) or has("SELECT", kind="column", direct=True) or '
        'has("INSERT", kind="column", direct=True) or has("UPDATE", kind="column", direct=True))',
        _PG,
    ),
    Shipped(
        "pg-19",
        "everybody",
        _("Everybody may create schemas in a database"),
        'is_public and has("CREATE", kind="database", direct=True)',
        _PG,
    ),
    # MySQL and MariaDB
    Shipped(
        "my-01",
        "all-powerful",
        _("SUPER, or the dynamic privileges that come to the same"),
        'has("SUPER", on="") or has("SYSTEM_USER") and (has("ROLE_ADMIN") or has("CONNECTION_ADMIN") or '
        'has("SYSTEM_VARIABLES_ADMIN"))',
        _MY,
    ),
    Shipped("my-02", "open-door", _("An account without a name"), 'name("") and not is_public', _MY),
    Shipped("my-04", "open-door", _("From any host"), 'can_login and host("", "*%*")', _MY, "CIS MySQL 7.7"),
    Shipped(
        "my-05",
        "open-door",
        _("root from another host"),
        'name("root") and can_login and not host("localhost", "127.0.0.1", "::1")',
        _MY,
    ),
    Shipped("my-06", "server-access", _("Reads and writes files of the server"), 'has("FILE")', _MY),
    Shipped(
        "my-07",
        "account-admin",
        _("Makes and changes accounts, or acts in their name"),
        'has("CREATE USER", on="") or has("ROLE_ADMIN") or has("SET_USER_ID") or has("SET_ANY_DEFINER")',
        _MY,
    ),
    Shipped(
        "my-08",
        "passes-on",
        _("Passes on rights on everything, or on whole databases"),
        'has("*", on="", grantable=True) or has("*", kind="database", grantable=True)',
        _MY,
    ),
    Shipped(
        "my-09",
        "server-access",
        _("Sees, ends or reloads what others do, and is no administrator"),
        'not has("SUPER", on="") and (has("PROCESS") or has("SHUTDOWN") or has("RELOAD"))',
        _MY,
    ),
    Shipped(
        "my-10",
        "wide-data",
        _("Reads every change as a replica does, and is not named as one"),
        'has("REPLICATION SLAVE") and not name("*repl*")',
        _MY,
    ),
    Shipped(
        "my-11",
        "escalation",
        _("Writes the grant tables"),
        'has("INSERT", on="mysql.user") or has("UPDATE", on="mysql.user") or has("DELETE", on="mysql.user")',
        _MY,
    ),
    Shipped(
        "my-12",
        "wide-data",
        _("Writes or changes everything on the server"),
        " or ".join(f'has("{one}", on="")' for one in ("INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "CREATE")),
        _MY,
        "CIS MySQL 5.9",
    ),
    Shipped(
        "my-13",
        "weak-identity",
        _("A password kept in an old way"),
        'auth("*mysql_native_password*", "*mysql_old_password*")',
        _MY,
    ),
    Shipped("my-14", "weak-identity", _("A password without end"), "can_login and not expires", _MY, active=False),
    Shipped(
        "my-16",
        "everybody",
        _("Everybody holds rights, or a role passes itself on"),
        'is_public and has("*", direct=True) or is_role and member_of("*", admin=True)',
        _MY,
    ),
    Shipped(
        "my-18",
        "wide-data",
        _("Rights on every database whose name is like a pattern"),
        'has("*", on="*%*", kind="database")',
        _MY,
    ),
    # Oracle. Privileges of accounts that Oracle maintains are no finding: all-03 covers SYS and SYSTEM, or-12 the rest.
    # Visiting the root needs a common user, so or-16 is inactive.
    Shipped(
        "or-01",
        "all-powerful",
        _("The role DBA, or an administrator of the instance"),
        'member_of("DBA") or has("SYSDBA") or has("SYSOPER")',
        _OR,
    ),
    Shipped(
        "or-03",
        "escalation",
        _("Grants whatever it likes"),
        'not is_system and (has("GRANT ANY PRIVILEGE") or has("GRANT ANY ROLE") or has("GRANT ANY OBJECT PRIVILEGE"))',
        _OR,
    ),
    Shipped(
        "or-04",
        "escalation",
        _("Becomes others, or changes the system"),
        'not is_system and (has("BECOME USER") or has("ALTER SYSTEM") or has("CREATE ANY LIBRARY") or '
        'has("ALTER USER"))',
        _OR,
    ),
    Shipped("or-05", "wide-data", _("A right on any object"), 'not is_system and has("* ANY *")', _OR),
    Shipped(
        "or-06",
        "passes-on",
        _("Passes system rights or roles on"),
        'not is_system and (has("*", kind="system", grantable=True) or member_of("*", admin=True))',
        _OR,
        "STIG V-61433, V-61437",
    ),
    Shipped(
        "or-07",
        "everybody",
        _("Everybody holds a system right or a role"),
        'is_public and (has("*", kind="system", direct=True) or member_of("*"))',
        _OR,
        "STIG V-61435, V-61443",
    ),
    Shipped(
        "or-18",
        "everybody",
        _("Everybody may read or change a table"),
        'is_public and (has("SELECT", kind="table", direct=True) or has("READ", kind="table", direct=True) or '
        'has("INSERT", kind="table", direct=True) or has("UPDATE", kind="table", direct=True) or '
        'has("DELETE", kind="table", direct=True))',
        _OR,
    ),
    Shipped(
        "or-09",
        "wide-data",
        _("Reads the whole dictionary"),
        'not is_system and (member_of("SELECT_CATALOG_ROLE") or member_of("EXECUTE_CATALOG_ROLE") or '
        'has("SELECT ANY DICTIONARY"))',
        _OR,
    ),
    Shipped(
        "or-10",
        "wide-data",
        _("Looks past row security or redaction"),
        'not is_system and (has("EXEMPT ACCESS POLICY") or has("EXEMPT REDACTION POLICY"))',
        _OR,
    ),
    Shipped(
        "or-12",
        "open-door",
        _("An account that Oracle maintains is open"),
        'is_system and can_login and not locked and not name("SYS", "SYSTEM")',
        _OR,
    ),
    Shipped(
        "or-13",
        "left-over",
        _("A sample schema"),
        'name("SCOTT", "HR", "OE", "SH", "PM", "IX", "BI")',
        _OR,
        "CIS 1.3",
    ),
    Shipped(
        "or-15",
        "left-over",
        _("Space without limit"),
        'not is_system and has("UNLIMITED TABLESPACE")',
        _OR,
        "STIG V-61459",
    ),
    Shipped(
        "or-16",
        "wide-data",
        _("An account common to all containers"),
        'name("C##*") and not is_system',
        _OR,
        active=False,
    ),
    Shipped(
        "or-17",
        "escalation",
        _("Rights on the tables of passwords, links or audits themselves"),
        'not superuser and (has("*", on="*.SYS.USER$") or has("*", on="*.SYS.LINK$") or has("*", on="*.SYS.AUD$"))',
        _OR,
    ),
]


@transaction.atomic
def install() -> list[str]:
    """Create missing classifications and rules, by code. Edited and deleted ones stay. Returns the created codes."""
    there = set(Classification.objects.values_list("code", flat=True))
    kinds = [Classification(**kind._asdict(), is_system=True) for kind in CLASSIFICATIONS if kind.code not in there]
    Classification.objects.bulk_create(kinds, ignore_conflicts=True)
    by_code = {one.code: one for one in Classification.objects.all()}
    # A deleted rule is only retired, so it is found here.
    present = set(ClassificationRule.objects.values_list("code", flat=True))
    created = []
    for rule in RULES:
        if rule.code not in present:
            fields = rule._asdict() | {"classification": by_code[rule.classification], "is_system": True}
            services.keep_rule(ClassificationRule(**fields))
            created.append(rule.code)
    return created
