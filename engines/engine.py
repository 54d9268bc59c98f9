"""What an engine declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .check import ExcessRights
from .facts import AccountKey, Databases, Inventory, Permissions, Sizes, TableSize
from .reads import Answers, Read, applicable, statements_for
from .semantics import Semantics
from .session import Session
from .statements import Held, Remedy, Statement, Subject
from .target import Target


class FactsModule(Protocol):
    """`inventory` makes facts of the answers to the reads of accounts, and what `permissions` needs of the accounts
    beside."""

    def inventory(self, session: Any, answers: Answers) -> tuple[Inventory, Any]: ...
    def permissions(self, session: Any, answers: Answers, known: Any) -> Permissions: ...


class SizesModule(Protocol):
    """`databases` lists them, and what `sizes` needs of the list beside."""

    def databases(self, session: Any) -> tuple[Any, Databases]: ...
    def sizes(self, session: Any, listed: Any) -> Sizes: ...
    def table_sizes(self, session: Any, database: str, limit: int) -> list[TableSize]: ...


class AccountModule(Protocol):
    """SQL for people to run. `create` makes the statements that come before the grants of the script, and `remarks`
    says in sentences what it leaves open; `grantee` writes an account as GRANT takes it. `lock` and `revoke` take power
    away, and `nameless` says how to find an account whose name cannot stand in SQL."""

    def create(self, account: AccountKey, features: Any) -> list[Statement]: ...
    def grantee(self, account: AccountKey) -> str: ...
    def remarks(self, level: str, product: str = "", hash_blind: bool = False) -> list[str]: ...
    def lock(self, subject: Subject) -> list[str]: ...
    def revoke(self, subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy: ...
    def nameless(self, subject: Subject) -> str: ...


@dataclass(frozen=True)
class Engine:
    """One engine. `engines.registry` lists them all, and `Adapter` runs a visit by them.

    `name` is the key that instances store, `products` maps what people type to the name the server gives itself, and
    the first of them is the default. `session` opens no connection yet and imports the driver on first use, so that a
    missing driver harms this engine only. `reads` are all the statements of a visit, its check and the script.

    `excess` finds rights beyond need.

    `features` are those of a server that is only described, by product, version and account: "" for the product that
    the engine is named for, and for its newest version.

    `inside` makes SQL to be pasted for one database, where grants lie inside databases. `tls` are the fields of
    `Target` that depend on the engine. `tested` and `emulated`: product → the versions, as version numbers begin, that
    the tests visit on real servers, and on tables laid out as the manuals describe them.

    `needs_database`: there is no usual database to connect to, so an instance has to name it. `has_hosts`: an account
    is a name and the host that it connects from. `grants_per_database`: depths B and C need a right on each database.
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
    needs_database: bool = False
    has_hosts: bool = False
    grants_per_database: bool = False

    def script(
        self, level: str, account: AccountKey, product: str = "", version: str = "", hash_blind: bool = False
    ) -> list[Statement]:
        """The statements that create the collection account for visits to this depth and for sizes. `hash_blind` keeps
        it from password hashes as far as the product allows."""
        features = self.features(product, version, account)
        reads = applicable(self.reads, level, features)
        return [
            *self.account.create(account, features),
            *statements_for(reads, features, self.account.grantee(account), hash_blind),
        ]
