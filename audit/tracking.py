"""Triggers that write changes of tables to the trail. `install` makes them as declared, after each migration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.apps import apps
from django.db import connection, transaction


@dataclass(frozen=True)
class Tracked:
    """A model with the columns that are configuration, and those that are not.

    Of `secrets`, columns and what they hold, the trail says only that they were set, changed or removed. `name`,
    `instance` and `only` are SQL about the row `r`: what it is called, the id of its instance, and whether its changes
    are written.
    """

    model: str
    columns: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    name: str = "r.name"
    instance: str = "NULL"
    only: str = "true"

    @property
    def table(self) -> str:
        return apps.get_model(self.model)._meta.db_table

    @property
    def arguments(self) -> tuple[str, ...]:
        """Those of the trigger."""
        secrets = ",".join(f"{column}={word}" for column, word in self.secrets.items())
        about = f"({self.name})::text, ({self.instance})::bigint, ({self.only})::boolean"
        return (self.model.lower(), ",".join(self.columns), secrets, about)

    def statements(self) -> list[str]:
        arguments = ", ".join("'" + argument.replace("'", "''") + "'" for argument in self.arguments)
        table = connection.ops.quote_name(self.table)
        return [
            f"CREATE OR REPLACE TRIGGER audit_track AFTER INSERT OR UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION audit_track({arguments})",
            f"CREATE OR REPLACE TRIGGER audit_truncate AFTER TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate('{self.model.lower()}')",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER audit_track, ENABLE ALWAYS TRIGGER audit_truncate",
        ]


#: What is followed; taifish/apps.py fills it.
DECLARED: list[Tracked] = []

_INSTALLED = """
SELECT c.relname, (SELECT t.tgargs FROM pg_trigger t
                    WHERE t.tgrelid = c.oid AND t.tgname = 'audit_track' AND t.tgenabled = 'A')
  FROM pg_class c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%s)
"""


def install(tracked: Iterable[Tracked]) -> list[str]:
    """Make the triggers that are missing or differ from the declaration. Returns the models. Tables that do not exist
    yet are left out: a later migration makes them, and calls this again."""
    tracked = list(tracked)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regproc('audit_track') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return []
        cursor.execute(_INSTALLED, [[one.table for one in tracked]])
        installed = {table: args and bytes(args).decode().split("\0")[:-1] for table, args in cursor.fetchall()}
        made = [one for one in tracked if one.table in installed and installed[one.table] != list(one.arguments)]
        for one in made:
            for statement in one.statements():
                cursor.execute(statement)
    return [one.model for one in made]
