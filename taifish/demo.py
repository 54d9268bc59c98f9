"""The servers of `manage.py demo`: their initial accounts and databases, and their changes day by day.

This SQL runs on those servers only. Taifish reads them by visits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Days of history before today.
DAYS = 60


class Event(NamedTuple):
    """A statement that a DBA runs in a database, `days_ago` days before today."""

    days_ago: int
    database: str
    sql: str


class Growth(NamedTuple):
    """Growth of a table by `rows(days_ago)` rows on each day."""

    database: str
    insert: str
    rows: Callable[[int], int]


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server and its instance in Taifish. `major` None means the newest installed version; `setup` maps a
    database to the SQL that fills it after `accounts` has run; `limit` is a size in bytes."""

    name: str
    note: str
    level: str
    accounts: str
    setup: Mapping[str, str]
    events: Sequence[Event]
    growth: Sequence[Growth]
    major: int | None = None
    limit: int | None = None
    collector: str = "GRANT pg_read_all_stats TO taifish_collector"


_EVERYWHERE = """
CREATE ROLE dba CREATEROLE CREATEDB;
GRANT pg_signal_backend TO dba WITH ADMIN OPTION;
CREATE ROLE monitoring IN ROLE pg_monitor;
CREATE ROLE prometheus LOGIN CONNECTION LIMIT 3 IN ROLE monitoring;
CREATE ROLE backup LOGIN REPLICATION;
CREATE ROLE "anna.keller" LOGIN SUPERUSER;
CREATE ROLE "tom.baker" LOGIN IN ROLE dba;
"""

_ORDERS = Server(
    name="demo-orders",
    note="Demo: the web shop",
    level="B",
    accounts=f"""{_EVERYWHERE}
CREATE ROLE shop_owner;
CREATE ROLE shop_read;
CREATE ROLE shop_write IN ROLE shop_read;
CREATE ROLE developers IN ROLE shop_read;
CREATE ROLE analysts IN ROLE shop_read;
CREATE ROLE shop_app LOGIN CONNECTION LIMIT 40 IN ROLE shop_write;
CREATE ROLE shop_worker LOGIN IN ROLE shop_write;
CREATE ROLE shop_migrations LOGIN IN ROLE shop_owner;
CREATE ROLE billing_app LOGIN;
CREATE ROLE "li.wei" LOGIN IN ROLE analysts;
CREATE ROLE "maria.rossi" LOGIN IN ROLE analysts;
CREATE ROLE "sam.okafor" LOGIN IN ROLE developers;
CREATE ROLE "ext.jones" LOGIN IN ROLE developers;
CREATE ROLE old_shop NOLOGIN IN ROLE shop_write;
""",
    setup={
        "shop": """
SET ROLE shop_owner;
CREATE TABLE customer (id serial PRIMARY KEY, name text, email text);
CREATE TABLE orders (id serial PRIMARY KEY, customer int, placed_at timestamptz DEFAULT now(), note text);
CREATE TABLE price (article text PRIMARY KEY, cents int);
GRANT SELECT ON ALL TABLES IN SCHEMA public TO shop_read;
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop_write;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO shop_write;
GRANT SELECT ON orders TO billing_app;
""",
        "billing": """
CREATE SCHEMA ledger;
CREATE TABLE ledger.invoice (id serial PRIMARY KEY, amount numeric, note text);
GRANT USAGE ON SCHEMA ledger TO billing_app, analysts;
GRANT SELECT, INSERT ON ledger.invoice TO billing_app;
GRANT SELECT ON ledger.invoice TO analysts;
""",
    },
    events=[
        Event(52, "shop", 'CREATE ROLE "lena.fischer" LOGIN IN ROLE developers'),
        Event(45, "shop", 'GRANT INSERT, UPDATE, DELETE ON orders TO "li.wei"'),
        Event(30, "shop", 'GRANT dba TO "sam.okafor"'),
        Event(21, "shop", 'REVOKE INSERT, UPDATE, DELETE ON orders FROM "li.wei"'),
        Event(16, "shop", 'REVOKE dba FROM "sam.okafor"'),
        Event(12, "shop", 'DROP ROLE "ext.jones"'),
        Event(6, "shop", 'GRANT SELECT ON customer TO "maria.rossi" WITH GRANT OPTION'),
        Event(0, "shop", 'ALTER ROLE "sam.okafor" SUPERUSER'),
    ],
    growth=[
        Growth(
            "shop",
            "INSERT INTO orders (customer, note) SELECT mod(i, 900), repeat('order ', 19) FROM generate_series(1,%s) i",
            lambda ago: 1500 + 600 * (ago % 7 > 1),
        ),
        Growth(
            "billing",
            "INSERT INTO ledger.invoice (amount, note) SELECT i, repeat('line ', 20) FROM generate_series(1, %s) i",
            lambda ago: 700,
        ),
    ],
    limit=96 << 20,
)

_WAREHOUSE = Server(
    name="demo-warehouse",
    note="Demo: the data warehouse",
    level="B",
    accounts=f"""{_EVERYWHERE}
CREATE ROLE dwh_owner;
CREATE ROLE analysts;
CREATE ROLE dwh_loader LOGIN IN ROLE dwh_owner, pg_read_server_files;
CREATE ROLE etl_old LOGIN IN ROLE dwh_owner;
CREATE ROLE tableau LOGIN CONNECTION LIMIT 10 IN ROLE analysts;
CREATE ROLE "li.wei" LOGIN IN ROLE analysts;
CREATE ROLE "maria.rossi" LOGIN CREATEDB IN ROLE analysts;
""",
    setup={
        "dwh": """
SET ROLE dwh_owner;
CREATE TABLE fact_sales (day date, article int, amount numeric, note text);
CREATE TABLE dim_article (id int PRIMARY KEY, name text);
GRANT SELECT ON fact_sales, dim_article TO analysts;
""",
        "staging": """
CREATE TABLE load_file (line int, content text);
GRANT ALL ON load_file TO dwh_loader, etl_old;
GRANT SELECT ON load_file TO PUBLIC;
""",
    },
    events=[
        Event(40, "postgres", 'CREATE DATABASE sandbox OWNER "maria.rossi"'),
        Event(24, "staging", "INSERT INTO load_file SELECT i, repeat('x', 180) FROM generate_series(1, 80000) i"),
        Event(18, "postgres", "ALTER ROLE etl_old NOLOGIN"),
        Event(10, "postgres", 'GRANT pg_read_all_data TO "maria.rossi"'),
        Event(2, "postgres", "GRANT pg_execute_server_program TO dwh_loader"),
    ],
    growth=[
        Growth(
            "dwh",
            "INSERT INTO fact_sales SELECT current_date, i, i, repeat('sale ', 20) FROM generate_series(1, %s) i",
            lambda ago: 4000 + 40 * (DAYS - ago),
        ),
    ],
    limit=120 << 20,
)

_PAYROLL = Server(
    name="demo-payroll",
    note="Demo: the collection account lacks rights, so that parts are unknown",
    level="C",
    major=16,
    accounts=f"""{_EVERYWHERE}
CREATE ROLE payroll_owner;
CREATE ROLE payroll_app LOGIN;
CREATE ROLE "hr.assistant" LOGIN;
CREATE ROLE "hr.lead" LOGIN;
""",
    setup={
        "payroll": """
SET ROLE payroll_owner;
CREATE TABLE employee (id serial PRIMARY KEY, name text, department text, salary numeric);
CREATE TABLE payslip (id serial PRIMARY KEY, employee int, note text);
GRANT SELECT, INSERT, UPDATE ON employee, payslip TO payroll_app;
GRANT SELECT (id, name, department) ON employee TO "hr.assistant";
GRANT SELECT ON employee TO "hr.lead" WITH GRANT OPTION;
""",
        "hr_archive": "REVOKE CONNECT ON DATABASE hr_archive FROM PUBLIC",
    },
    events=[
        Event(25, "payroll", 'CREATE ROLE "ext.auditor" LOGIN'),
        Event(25, "payroll", 'GRANT SELECT (id, name, salary) ON employee TO "ext.auditor"'),
        Event(5, "payroll", 'GRANT UPDATE (salary) ON employee TO "hr.assistant"'),
        Event(1, "payroll", "ALTER ROLE \"ext.auditor\" VALID UNTIL 'yesterday'"),
    ],
    growth=[
        Growth(
            "payroll",
            "INSERT INTO payslip (employee, note) SELECT i, repeat('slip ', 20) FROM generate_series(1, %s) i",
            lambda ago: 3000 if ago % 30 == 5 else 0,
        ),
    ],
    collector="",
)

_CRM = Server(
    name="demo-crm",
    note="Demo: the password of the collection account was changed, so that visits fail",
    level="A",
    major=16,
    accounts=f"""{_EVERYWHERE}
CREATE ROLE crm_owner;
CREATE ROLE crm_app LOGIN SUPERUSER;
CREATE ROLE test LOGIN;
""",
    setup={
        "crm": """
CREATE TABLE contact (id serial PRIMARY KEY, note text);
GRANT ALL ON DATABASE crm TO crm_owner;
GRANT TEMPORARY ON DATABASE crm TO test WITH GRANT OPTION;
"""
    },
    events=[
        Event(50, "crm", "CREATE ROLE migration LOGIN SUPERUSER"),
        Event(33, "crm", "DROP ROLE migration"),
        Event(2, "crm", "ALTER ROLE taifish_collector PASSWORD 'changed'"),
    ],
    growth=[
        Growth(
            "crm",
            "INSERT INTO contact (note) SELECT repeat('note ', 20) FROM generate_series(1, %s)",
            lambda ago: 900 if ago > 30 else 0,
        ),
    ],
)

SERVERS = [_ORDERS, _WAREHOUSE, _PAYROLL, _CRM]
