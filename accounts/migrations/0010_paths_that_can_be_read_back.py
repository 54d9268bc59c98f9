"""Write stored paths as `engines.base.dotted()` writes them now, so that the next visit finds nothing new.

Two forms changed, since they could not be read back: parts with parentheses, and names of MySQL databases, which were
not quoted. Only rows with such names are touched.
"""

import re

from django.db import migrations
from django.db.models import F, Q

BATCH = 1000
PLAIN = re.compile(r'[^\s."()\x00-\x1f\x7f]+')
PART = re.compile(r'"(?:[^"]|"")*"|[^."]+')
#: Outside of quotes.
LAST_PARENTHESIS = re.compile(r'\((?:[^("]|"(?:[^"]|"")*")*$')


def dotted(*parts):
    return ".".join(part if PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in parts)


def name_of(part):
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def canonical(engine, kind, scope):
    """The new form of a scope in the old one."""
    if engine == "mysql" and kind == "database":
        return dotted(scope)
    arguments = ""
    if engine == "postgresql" and kind == "routine" and (found := LAST_PARENTHESIS.search(scope)):
        scope, arguments = scope[: found.start()], found[0]
    return dotted(*(name_of(part) for part in PART.findall(scope))) + arguments


def rewrite(apps, schema_editor):
    grants = apps.get_model("accounts", "Grant").objects.using(schema_editor.connection.alias)
    parentheses = Q(scope__contains="(") | Q(scope__contains=")")
    # The parentheses of a routine's arguments, and no others.
    ordinary = Q(account__instance__engine="postgresql", kind="routine", scope__regex=r"^[^()]*\([^()]*\)$")
    of_mysql = Q(account__instance__engine="mysql", kind="database", scope__regex=r'[\s."()\u0001-\u001f\u007f]')
    rows = grants.filter((parentheses & ~ordinary) | of_mysql).annotate(engine=F("account__instance__engine"))
    changed = []
    for row in rows.order_by().iterator(BATCH):
        scope = canonical(row.engine, row.kind, row.scope)
        if scope != row.scope:
            row.scope = scope
            changed.append(row)
    grants.bulk_update(changed, ["scope"], BATCH)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_unread_fields"),
    ]

    operations = [
        migrations.RunPython(rewrite, migrations.RunPython.noop),
    ]
