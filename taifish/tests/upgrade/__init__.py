"""A filled store of a release, as a dump, and what that release answered about it: what an upgrade has to keep.

`store.sql.gz` and `answers.json.gz` were made by `make_dump.py` with the release that the header of the dump names, and
stay as they are: do not make them anew with a later one.
"""

#: Throw-away: they open this dump and nothing else.
CREDENTIAL_KEY = "dGhyb3dhd2F5LWtleS1vZi10aGUtdGVzdC1kdW1wLS0="
LOGIN_PASSWORD = "throw-away password of the test dump"
