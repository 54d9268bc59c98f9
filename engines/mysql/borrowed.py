"""Rights that a session has by grants to other accounts.

The server looks grants on databases, tables, columns and routines up by the name of the account and the address of the
client, so that they apply to all accounts of this name with a host that fits. Grants on databases to anonymous accounts
apply to everyone. Of several grants on the same object only that with the most specific host counts.

https://dev.mysql.com/doc/refman/8.4/en/request-access.html
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from ..errors import AdapterError
from ..facts import AccountKey
from ..session import Session
from .decode import set_members, undoubled, yes_no
from .reads import READS, database_columns
from .user_table import Source

_SQL = {read.name: read for read in READS}

#: (object, whether on columns of it) → privilege → the columns.
Privileges = dict[tuple[str, bool], dict[str, list[str]]]


@dataclass
class Borrowed:
    """`grants` maps each other account to its objects, in the syntax of GRANT, with privileges; `roles` the roles that
    the session may set as members of another account (MariaDB). `present` are the accounts that exist, and `failures`
    the reads that failed for want of a right."""

    grants: dict[AccountKey, Privileges] = field(default_factory=lambda: defaultdict(dict))
    roles: dict[AccountKey, list[str]] = field(default_factory=lambda: defaultdict(list))
    present: set[AccountKey] = field(default_factory=set)
    failures: list[AdapterError] = field(default_factory=list)


def quoted(*names: str) -> str:
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def borrowed(session: Session) -> Borrowed:
    """Read the grants to other accounts that apply to the session. Raises AdapterError, but not for a missing right."""
    server = session.features
    ((account, login),) = session.query("SELECT CURRENT_USER(), USER()")
    (name, host), client = account.rsplit("@", 1), login.rsplit("@", 1)[1]
    found = Borrowed()

    def rows(read: str) -> Iterator[tuple[bool, AccountKey, tuple[Any, ...]]]:
        """Whether it is the own account, the account, and the rest of each row that applies to the session."""
        sql = Source(server).sql if read == "accounts" else _SQL[read].statement(server)
        # The servers store names in this table in a wrong encoding.
        every = read == "procs_priv" and not name.isascii()
        try:
            own_name = sql.replace("%", "%%") + " WHERE User IN (%s, '')"
            answer = session.query(sql) if every else session.query(own_name, [name])
        except AdapterError as error:
            if error.code != "denied":
                raise
            found.failures.append(error)
            return
        for row in answer:
            user = undoubled(row[0])[0] if every else row[0]
            # Roles of MariaDB have no host, and are no accounts of this name.
            is_role = server.is_mariadb and not row[1]
            if user in (name, "") and not is_role and fits(row[1], client):
                yield (user, row[1]) == (name, host), (user, row[1]), row[2:]

    own: set[str] = set()

    def add(read: str, decode: Any, anonymous: bool = False) -> None:
        """Add the grants of a table on objects on which the account has none itself."""
        listed = [(is_own, who, *decode(rest)) for is_own, who, rest in rows(read) if anonymous or who[0] == name]
        own.update(scope for is_own, _who, scope, _privileges, _columns in listed if is_own)
        for _is_own, who, scope, privileges, columns in listed:
            if scope not in own:
                held = found.grants[who].setdefault((scope, bool(columns)), {})
                for privilege in privileges:
                    held.setdefault(privilege, []).extend(columns)

    found.present |= {who for _is_own, who, _rest in rows("accounts")}
    flags = database_columns(server)
    add("db", lambda row: (f"{quoted(row[0])}.*", yes_no(flags, row[1], server.is_mariadb), []), anonymous=True)
    add("tables_priv", lambda row: (quoted(*row[:2]), set_members(row[2], server.is_mariadb), []))
    add("columns_priv", lambda row: (quoted(*row[:2]), set_members(row[3], server.is_mariadb), [row[2]]))
    add("procs_priv", lambda row: (_routine(*row[:3]), set_members(row[3], server.is_mariadb), []))
    if server.is_mariadb:
        for is_own, who, (role, _admin) in rows("roles_mapping"):
            if not is_own and who[0] == name:
                found.roles[who].append(quoted(role))
    return found


def _routine(database: str, name: str, kind: str) -> str:
    return f"{kind} {quoted(undoubled(database)[0], undoubled(name)[0])}"


def fits(host: str, client: str) -> bool:
    """Whether the host of an account fits the client, a name or an address as the server shows it. If it shows a name,
    every pattern of addresses may fit, except that of `localhost`, which has a known one."""
    try:
        address = ip_address("127.0.0.1" if client == "localhost" else client)
    except ValueError:
        address = None
    if host in ("", "%"):
        return True
    if "/" in host:
        try:
            return address is None or address in ip_network(host)
        except ValueError:
            return False
    # The server knows the address of a client that it names.
    if address is None and re.fullmatch(r"[\d.:%_]+", host):
        return True
    parts = re.findall(r"\\.|.", host, re.DOTALL)
    pattern = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    return any(re.fullmatch(pattern, one, re.IGNORECASE) for one in {client, str(address or client)})
