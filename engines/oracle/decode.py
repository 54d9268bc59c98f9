"""What rows of Oracle's dictionary say of containers, accounts and objects: pure, no connection.

A visit sees one database, or in the root of a multitenant server those that are open:
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

#: What stands for everybody: no user, and no role that DBA_ROLES lists.
PUBLIC = "PUBLIC"

#: Columns of V$PWFILE_USERS, in the order of `reads.READS`.
ADMINISTRATIVE = ("SYSDBA", "SYSOPER", "SYSASM", "SYSBACKUP", "SYSDG", "SYSKM")

#: Type of object → kind of grant. What is not here is an "object", whose scope names its type.
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
    """A database with a dictionary of its own: a PDB, the root, or the whole of a server without containers.

    `closed` says why the root's views leave it out, "" for one that is open.
    """

    name: str
    guid: str = ""
    closed: str = ""


class Containers:
    """The containers as they are now, by id. Where there is but the one that we are in, its id is 0, as in the rows of
    `reads.statement`."""

    def __init__(self, session: Session, rows: Rows) -> None:
        """`rows` are those of V$CONTAINERS, in the root."""
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
        """Rows with their container in place of its id. One that came meanwhile is left to the next visit."""
        for number, *row in rows:
            container = self.by_id.get(int(number))
            if container:
                yield container, tuple(row)

    def gaps(self, scope: str, shown: Collection[str], allowed: Rows) -> list[Gap]:
        """What of the scope is hidden: containers that are not among those `shown`, and those not even named, by the
        rows of CONTAINER_DATA."""
        gaps, data_grant = [], container_data(self._account)
        for container in self:
            if container.name not in shown:
                message = f"container {container.name} {container.closed or 'shows nothing to this account'}"
                hint = f"ALTER PLUGGABLE DATABASE {exact_identifier(container.name)} OPEN;"
                hint = hint if container.closed else data_grant
                gaps.append(Gap(scope, "not_open" if container.closed else "denied", message, container.name, hint))
        if allowed and (names := allowed_containers(allowed)):
            message = f"the account sees no other containers than {names}"
            gaps.append(Gap(scope, "denied", message, hint=data_grant))
        return gaps

    def look_again(self, before: Containers, shown: Collection[str]) -> None:
        """Raise AdapterError for one that was closed while it was read: its rows would seem to be gone."""
        now = {container.name: container.closed for container in self}
        for container in before:
            if container.name in shown and not container.closed and now.get(container.name, "is gone"):
                raise AdapterError(
                    f"container {container.name} {now.get(container.name, 'is gone')}, and was open before",
                    code="server_starting",
                    hint="It was closed during the visit, which is tried again.",
                )


@dataclass(frozen=True)
class Status:
    """ACCOUNT_STATUS taken apart: "EXPIRED(GRACE) & LOCKED(TIMED)", "OPEN & IN ROLLOVER"."""

    is_locked: bool
    is_expired: bool
    attributes: frozenset[str]


def status_of(text: str) -> Status:
    """`attributes` are what goes beyond locked and expired, in Oracle's own words without blanks in brackets."""
    parts = {re.sub(r"\s*\(\s*(\w+)\s*\)", r"(\1)", part.strip().upper()) for part in text.split("&")}
    return Status(
        is_locked=bool(parts & {"LOCKED", "LOCKED(TIMED)"}),
        is_expired="EXPIRED" in parts,
        attributes=frozenset(parts - {"OPEN", "LOCKED", "EXPIRED"}),
    )


def user_fact(row: Sequence[Any], container: Container, clock: tzinfo, limits: Mapping[str, str]) -> AccountFact:
    """A row of "USERS", less its container's id. `clock` is the time zone of its dates, `limits` profile →
    SESSIONS_PER_USER as DBA_PROFILES has it. Oracle records no login AS SYSDBA and the like, and none on a standby."""
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
    """The fact without what follows from not having seen something: of what is `unread`, only a yes is certain."""
    if fact.kind != "user":
        return fact
    return fact._replace(
        is_locked=fact.is_locked or (None if "is_locked" in unread else False),
        is_superuser=fact.is_superuser or (None if "is_superuser" in unread else False),
    )


def attributes_of(row: Sequence[Any]) -> set[str]:
    """What the same row says that no field of a fact is for: "COMMON", "PROFILE …", and parts of the status."""
    _, _, status, _, profile, _, _, _, common, *_ = row
    return {*status_of(status).attributes, f"PROFILE {profile}"} | ({"COMMON"} if common == "YES" else set())


def role_fact(row: Sequence[Any], container: Container) -> AccountFact:
    """A row of "ROLES", less its container's id."""
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
    """Ids of containers and of accounts are used again: with the container's GUID they are not."""
    return "" if number is None else "/".join(filter(None, [container.guid, str(int(number))]))


def session_limit(profile: str, limits: Mapping[str, str]) -> int | None:
    """How many sessions a profile allows; None for no limit. "DEFAULT" in it is what the profile DEFAULT says."""
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
    """A DATE of the dictionary, which has no time zone, in UTC; None for what a datetime cannot hold."""
    try:
        return value and value.replace(tzinfo=clock).astimezone(UTC)
    except OverflowError:
        return None


def clock_of(offset: str) -> tzinfo:
    """The time zone behind "+08:00". It is today's: what falls into the other half of the year may be an hour off."""
    sign, hours, minutes = re.fullmatch(r"([+-]?)(\d+):(\d+)", offset.strip()).groups()  # type: ignore[union-attr]
    shift = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-shift if sign == "-" else shift)
