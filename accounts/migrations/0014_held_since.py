from django.db import migrations

#: Accounts per statement.
BATCH = 5000

# A row that begins when one of the same possession ends continues it. In earlier releases, options that changed ended
# one row and began another at the same moment.
FILL = """
WITH neighbours AS (
    SELECT id, since, until, {key}, lag(until) OVER one IS DISTINCT FROM since AS begins,
           lead(since) OVER one AS next_since
      FROM {table}
     WHERE {owner} >= %(first)s AND {owner} < %(end)s
    WINDOW one AS (PARTITION BY {key} ORDER BY since, until NULLS LAST, id)
), possessions AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY {key} ORDER BY since, until NULLS LAST, id) AS nth
      FROM neighbours
), known AS (
    SELECT id, min(since) OVER (PARTITION BY {key}, nth) AS held_since, until = next_since AS continues
      FROM possessions
)
UPDATE {table} t
   SET held_since = k.held_since, ended = CASE WHEN k.continues THEN 'changed' END
  FROM known k
 WHERE t.id = k.id AND t.held_since IS NULL
"""
TABLES = [
    ("accounts_grant", "account_id", "account_id, kind, database, scope, privilege, denied"),
    ("accounts_membership", "member_id", "member_id, role_id"),
]


def fill(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        for table, owner, key in TABLES:
            cursor.execute(f"SELECT min({owner}), max({owner}) FROM {table} WHERE held_since IS NULL")
            first, last = cursor.fetchone()
            if first is None:
                continue
            # In batches, each its own transaction: a migration that was interrupted goes on where it stopped.
            for start in range(first, last + 1, BATCH):
                sql = FILL.format(table=table, owner=owner, key=key)
                cursor.execute(sql, {"first": start, "end": start + BATCH})


class Migration(migrations.Migration):
    """When each possession began, computed from the intervals of earlier releases."""

    atomic = False

    dependencies = [("accounts", "0013_identity")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
