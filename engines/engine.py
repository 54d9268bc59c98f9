"""The declaration of an engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .check import ExcessRights
from .errors import AdapterError
from .facts import AccountKey, Databases, Inventory, Permissions, Sizes, TableSize
from .reads import Answers, Read, applicable, statements_for
from .semantics import Semantics
from .session import Session
from .statements import Held, Remedy, Statement, Subject
from .target import Target
from .versions import OnlyIn


class FactsModule(Protocol):
    """`inventory` makes facts from the answers about accounts. Its second result is passed to `permissions`."""

    def inventory(self, session: Any, answers: Answers) -> tuple[Inventory, Any]: ...
    def permissions(self, session: Any, answers: Answers, known: Any) -> Permissions: ...


class SizesModule(Protocol):
    """`databases` lists the databases; its first result is passed to `sizes`. `table_sizes` yields the largest tables
    of each database, or the error of a database that cannot be read."""

    def databases(self, session: Any) -> tuple[Any, Databases]: ...
    def sizes(self, session: Any, listed: Any) -> Sizes: ...
    def table_sizes(
        self, session: Any, databases: Sequence[str], limit: int
    ) -> Iterator[tuple[str, list[TableSize] | AdapterError]]: ...


class AccountModule(Protocol):
    """SQL for people to run. `create` returns the statements that precede the grants of the script, `remarks` sentences
    about its limits, `grantee` the account in the syntax of GRANT. `lock` and `revoke` return the SQL that locks an
    account and revokes its grants, `nameless` how to find an account with a name that cannot be used in SQL.

    `exists`, `member` and `change` give or take one account, membership or right; "" where no statement does. `exists`
    never sets a password: `NEW_USERS` says what is left to do. `member` takes what `grantor` granted, if it is named,
    and `as_grantor` makes statements that take a right as the role that granted it."""

    NEW_USERS: str

    def create(self, account: AccountKey, features: Any) -> list[Statement]: ...
    def grantee(self, account: AccountKey) -> str: ...
    def remarks(self, level: str, product: str = "", hash_blind: bool = False) -> list[str]: ...
    def lock(self, subject: Subject) -> list[str]: ...
    def revoke(self, subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy: ...
    def nameless(self, subject: Subject) -> str: ...
    def exists(self, subject: Subject, give: bool) -> str: ...
    def member(
        self, subject: Subject, role: AccountKey, options: Collection[str], give: bool, grantor: str = ""
    ) -> str: ...
    def as_grantor(self, statement: str, grantor: str) -> list[str]: ...
    def change(self, subject: Subject, grant: Held, give: bool, only_option: bool = False) -> str: ...


@dataclass(frozen=True)
class Engine:
    """One engine. `engines.registry` lists all engines; `Adapter` uses them to run visits.

    `name` is the key stored in instances, `also` are other names that people write. `products` maps the argument of
    commands to the product name that the server reports; the first one is the default. `session` opens no connection
    and imports the driver on first use, so that a missing driver affects this engine only. `reads` are all statements
    of a visit, its check and the script. `excess` finds rights beyond need.

    `features` returns the features of a server given by product, version and account: "" means the product that the
    engine is named after, and its newest version. `inside` wraps SQL to be pasted for one database, for engines that
    store grants inside databases. `tls` are the fields of `Target` that depend on the engine. `tested` and `emulated`:
    product → prefixes of the version numbers tested on real servers, and on tables built from the manuals.

    `needs_database`: no database is the default for connecting, so each instance must name one. `has_hosts`: an account
    is a name and a client host. `grants_per_database`: depths B and C need a right on each database. `only_in`: grants
    that only some versions have.
    """

    name: str
    label: str
    port: int
    products: dict[str, str]
    session: Callable[[Target], Session]
    reads: Sequence[Read]
    facts: FactsModule
    sizes: SizesModule
    account: AccountModule
    excess: ExcessRights
    semantics: Semantics
    features: Callable[[str, str, AccountKey], Any] = lambda product, version, account: None
    inside: Callable[[str, str], str] = lambda sql, database: sql
    tls: Mapping[str, Any] = field(default_factory=dict)
    tested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    emulated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also: Sequence[str] = ()
    needs_database: bool = False
    has_hosts: bool = False
    grants_per_database: bool = False
    only_in: Sequence[OnlyIn] = ()

    def script(
        self, level: str, account: AccountKey, product: str = "", version: str = "", hash_blind: bool = False
    ) -> list[Statement]:
        """The statements that create the collection account for visits to this depth and for sizes. `hash_blind` denies
        it password hashes as far as the product allows."""
        features = self.features(product, version, account)
        reads = applicable(self.reads, level, features)
        return [
            *self.account.create(account, features),
            *statements_for(reads, features, self.account.grantee(account), hash_blind),
        ]
