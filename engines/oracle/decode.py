"""Containers, accounts and objects from rows of Oracle's dictionary: pure functions, no connection.

A visit reads one database, or in the root of a multitenant server all open ones:
https://docs.oracle.com/en/database/oracle/oracle-database/19/multi/overview-of-managing-a-cdb.html

https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/DBA_USERS.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from ..errors import AdapterError
from ..facts import AccountFact, Gap
from ..session import Rows, Session
from .account import container_data, exact_identifier
from .reads import SEED, allowed_containers, why_closed

#: All accounts. It is not a user, and DBA_ROLES does not list it.
PUBLIC = "PUBLIC"

#: Columns of V$PWFILE_USERS, in the order of `reads.READS`.
ADMINISTRATIVE = ("SYSDBA", "SYSOPER", "SYSASM", "SYSBACKUP", "SYSDG", "SYSKM")

#: Type of object → kind of grant. Other types are of kind "object", with the type in the scope.
KINDS = {
    "TABLE": "table",
    "VIEW": "table",
    "MATERIALIZED VIEW": "table",
    "SEQUENCE": "sequence",
    "FUNCTION": "routine",
    "PROCEDURE": "routine",
    "PACKAGE": "routine",
    "TYPE": "type",
}


@dataclass(frozen=True)
class Container:
    """A PDB, the root, or the database of a server without containers.

    `closed` is the reason why the root's views omit it, "" if it is open.
    """

    name: str
    guid: str = ""
    closed: str = ""


class Containers:
    """The containers by id. Outside the root there is one, with id 0, as in the rows of `reads.statement`."""

    def __init__(self, session: Session, rows: Rows) -> None:
        """`rows` are those of V$CONTAINERS, if in the root."""
        self._account = session.account
        self.by_id = {0: Container(session.features.here)}
        if session.features.in_root:
            self.by_id = {
                int(number): Container(name, bytes(guid or b"").hex().upper(), why_closed(mode, restricted))
                for number, name, guid, mode, restricted in rows
                if name != SEED
            }

    def __iter__(self) -> Iterator[Container]:
        return iter(self.by_id.values())

    def with_rows(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Container, tuple[Any, ...]]]:
        """Rows with their container in place of its id. Ignores containers created meanwhile."""
        for number, *row in rows:
            container = self.by_id.get(int(number))
            if container:
                yield container, tuple(row)

    def gaps(self, scope: str, shown: Collection[str], allowed: Rows) -> list[Gap]:
        """Gaps in this scope: containers that are not in `shown`, and containers that the account may not see according
        to the rows of CONTAINER_DATA."""
        gaps, data_grant = [], container_data(self._account)
        for container in self:
            if container.name not in shown:
                message = f"container {container.name} {container.closed or 'is not visible to this account'}"
                hint = f"ALTER PLUGGABLE DATABASE {exact_identifier(container.name)} OPEN;"
                hint = hint if container.closed else data_grant
                gaps.append(Gap(scope, "not_open" if container.closed else "denied", message, container.name, hint))
        if allowed and (names := allowed_containers(allowed)):
            message = f"the account can see only these containers: {names}"
            gaps.append(Gap(scope, "denied", message, hint=data_grant))
        return gaps

    def look_again(self, before: Containers, shown: Collection[str]) -> None:
        """Raise AdapterError if a container was closed during the visit: its missing rows would look dropped."""
        now = {container.name: container.closed for container in self}
        for container in before:
            if container.name in shown and not container.closed and now.get(container.name, "is gone"):
                raise AdapterError(
                    f"container {container.name} {now.get(container.name, 'is gone')}, but was open before",
                    code="server_starting",
                    hint="It was closed during the visit. The visit is retried.",
                )


@dataclass(frozen=True)
class Status:
    """The parts of ACCOUNT_STATUS: "EXPIRED(GRACE) & LOCKED(TIMED)", "OPEN & IN ROLLOVER"."""

    is_locked: bool
    is_expired: bool
    attributes: frozenset[str]


def status_of(text: str) -> Status:
    """`attributes` are the parts other than open, locked and expired, without blanks around brackets."""
    parts = {re.sub(r"\s*\(\s*(\w+)\s*\)", r"(\1)", part.strip().upper()) for part in text.split("&")}
    return Status(
        is_locked=bool(parts & {"LOCKED", "LOCKED(TIMED)"}),
        is_expired="EXPIRED" in parts,
        attributes=frozenset(parts - {"OPEN", "LOCKED", "EXPIRED"}),
    )


def user_fact(row: Sequence[Any], container: Container, clock: tzinfo, limits: Mapping[str, str]) -> AccountFact:
    """The fact for a row of "USERS" without its container's id. `clock` is the time zone of its dates, `limits` profile
    → SESSIONS_PER_USER in DBA_PROFILES. Oracle records no logins AS SYSDBA and the like, and none on a standby."""
    name, number, status, expiry, profile, authentication, versions, proxy_only, _, maintained, changed, login = row
    parts = status_of(status)
    return AccountFact(
        name=name,
        host=container.name,
        native_id=native_id(container, number),
        is_system=maintained == "Y",
        can_login=authentication != "NONE" and proxy_only != "Y",
        is_locked=parts.is_locked,
        is_superuser=name == "SYS",
        valid_until=moment(expiry, clock),
        password_changed_at=moment(changed, clock),
        password_expired=parts.is_expired,
        auth_method=" ".join(filter(None, [authentication, *(versions or "").split()])),
        connection_limit=session_limit(profile, limits),
        last_login_at=moment(login, UTC),
    )


def certain(fact: AccountFact, unread: Set[str]) -> AccountFact:
    """The fact with None in place of "no" in fields that are `unread`: in these, only "yes" is certain."""
    if fact.kind != "user":
        return fact
    return fact._replace(
        is_locked=fact.is_locked or (None if "is_locked" in unread else False),
        is_superuser=fact.is_superuser or (None if "is_superuser" in unread else False),
    )


def attributes_of(row: Sequence[Any]) -> set[str]:
    """The attributes in the same row: "COMMON", "PROFILE …", and parts of the status."""
    _, _, status, _, profile, _, _, _, common, *_ = row
    return {*status_of(status).attributes, f"PROFILE {profile}"} | ({"COMMON"} if common == "YES" else set())


def role_fact(row: Sequence[Any], container: Container) -> AccountFact:
    """The fact for a row of "ROLES" without its container's id."""
    name, number, authentication, maintained = row
    return AccountFact(
        name=name,
        host=container.name,
        kind="role",
        native_id=native_id(container, number),
        is_system=maintained == "Y",
        can_login=False,
        is_locked=False,
        auth_method="" if authentication == "NONE" else authentication or "",
    )


def native_id(container: Container, number: Any) -> str:
    """The id of an account or object with the container's GUID: Oracle reuses ids of containers and accounts."""
    return "" if number is None else "/".join(filter(None, [container.guid, str(int(number))]))


def session_limit(profile: str, limits: Mapping[str, str]) -> int | None:
    """The number of sessions that a profile allows; None for no limit. "DEFAULT" refers to the profile DEFAULT."""
    text = limits.get(profile, "")
    if text == "DEFAULT":
        text = limits.get("DEFAULT", "")
    return int(text) if text.isdigit() else None


def quota(max_bytes: Any) -> str:
    return "QUOTA UNLIMITED" if int(max_bytes) < 0 else f"QUOTA {int(max_bytes)}"


def administrative(flags: Iterable[str]) -> list[str]:
    return [privilege for privilege, flag in zip(ADMINISTRATIVE, flags, strict=True) if flag == "TRUE"]


def object_scope(owner: str, name: str, kind: str) -> tuple[str, tuple[str, ...]]:
    """(kind of grant, path in its container) of an object of this TYPE."""
    if kind in KINDS:
        return KINDS[kind], (owner, name)
    return "object", (owner, (kind or "unknown").lower(), name)


def moment(value: datetime | None, clock: tzinfo) -> datetime | None:
    """A DATE of the dictionary, which has no time zone, in UTC; None if outside the range of datetime."""
    try:
        return value and value.replace(tzinfo=clock).astimezone(UTC)
    except OverflowError:
        return None


def clock_of(offset: str) -> tzinfo:
    """The time zone of "+08:00". It is that of today: with daylight saving time, other dates may be off by an hour."""
    sign, hours, minutes = re.fullmatch(r"([+-]?)(\d+):(\d+)", offset.strip()).groups()  # type: ignore[union-attr]
    shift = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-shift if sign == "-" else shift)
