"""What holds of databases, tablespaces and their sizes by day."""

from work.invariants import Invariant

_TOTAL = """
SELECT i.instance_id AS instance, i.day, i.size, i.shared_size, i.n_databases, o.size AS of_databases, o.n,
       p.size AS parts
  FROM capacity_instancesize i
 CROSS JOIN LATERAL (SELECT coalesce(sum(value::bigint), 0) AS size FROM jsonb_each_text(i.shared)) p
  LEFT JOIN (SELECT d.instance_id, s.day, sum(s.size) AS size, count(*) AS n
               FROM capacity_databasesize s JOIN capacity_database d ON d.id = s.database_id GROUP BY 1, 2) o
         ON o.instance_id = i.instance_id AND o.day = i.day
 WHERE i.size <> coalesce(o.size, 0) + i.shared_size OR i.n_databases <> coalesce(o.n, 0) OR i.shared_size <> p.size
"""

#: The purge deletes the rows of instances first.
_NO_TOTAL = """
SELECT DISTINCT d.instance_id AS instance, s.day
  FROM capacity_databasesize s JOIN capacity_database d ON d.id = s.database_id
 WHERE s.day >= (SELECT min(f.day) FROM capacity_instancesize f WHERE f.instance_id = d.instance_id)
   AND NOT EXISTS (SELECT FROM capacity_instancesize i WHERE i.instance_id = d.instance_id AND i.day = s.day)
"""

#: Sizes that the purge deleted, and those of the day on which a database was dropped, are still the latest.
_LATEST = """
SELECT '{what}' AS what, o.id, o.size, o.size_day, l.day AS latest_day, l.size AS latest_size
  FROM {owners} o
  LEFT JOIN LATERAL (SELECT s.day, s.size FROM {sizes} s WHERE s.{owner} = o.id ORDER BY s.day DESC LIMIT 1) l ON true
 WHERE l.day > o.size_day OR (l.day IS NOT NULL AND o.size_day IS NULL) OR (l.day = o.size_day AND l.size <> o.size)
    OR (o.size IS NULL) <> (o.size_day IS NULL)
    OR (o.gone_at IS NULL AND l.day < o.size_day)
"""

_SEEN = """
SELECT '{what}' AS what, id, first_seen_at, last_seen_at, gone_at FROM {owners}
 WHERE last_seen_at < first_seen_at OR gone_at < last_seen_at
"""

_OWNERS = (
    {"what": "database", "owners": "capacity_database", "sizes": "capacity_databasesize", "owner": "database_id"},
    {
        "what": "tablespace",
        "owners": "capacity_tablespace",
        "sizes": "capacity_tablespacesize",
        "owner": "tablespace_id",
    },
)

INVARIANTS = (
    Invariant("total", "The size of an instance on a day is the sum of its databases and of the shared part.", _TOTAL),
    Invariant("total_exists", "A day with sizes of databases has one of the instance.", _NO_TOTAL),
    Invariant(
        "latest_size",
        "The size beside a database or tablespace is that of its latest day.",
        " UNION ALL ".join(_LATEST.format(**each) for each in _OWNERS),
    ),
    Invariant(
        "seen",
        "A database or tablespace is last seen after it was first seen, and gone after it was last seen.",
        " UNION ALL ".join(_SEEN.format(**each) for each in _OWNERS),
    ),
    Invariant(
        "negative_size",
        "No size is negative.",
        " UNION ALL ".join(
            f"SELECT '{each['what']}' AS what, {each['owner']} AS id, day, size FROM {each['sizes']} WHERE size < 0"  # noqa: S608
            for each in _OWNERS
        ),
    ),
    Invariant(
        "tablespace_of_database",
        "A tablespace belongs to the instance of its database, and ends with it.",
        """
SELECT t.id AS tablespace, t.instance_id AS instance, d.id AS database, d.instance_id AS database_instance
  FROM capacity_tablespace t JOIN capacity_database d ON d.id = t.database_id
 WHERE t.instance_id <> d.instance_id OR (d.gone_at IS NOT NULL AND t.gone_at IS NULL)
""",
    ),
)
