"""What an engine declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .adapter import Adapter
from .facts import AccountKey
from .semantics import Semantics
from .statements import Held, Remedy, Statement, Subject
from .target import Target


class Script(Protocol):
    """Writes the statements that create the collection account for visits to this depth and for sizes.

    An empty product is the one that the engine is named for, an empty version its newest. `hash_blind` keeps the
    account from password hashes as far as the product allows.
    """

    def __call__(
        self, level: str, account: AccountKey, product: str = "", version: str = "", hash_blind: bool = False
    ) -> list[Statement]: ...


class Remarks(Protocol):
    """Says in sentences what the script leaves open."""

    def __call__(self, level: str, product: str = "", hash_blind: bool = False) -> list[str]: ...


@dataclass(frozen=True)
class Engine:
    """One engine. `engines.registry` lists them all.

    `name` is the key that instances store, `products` maps what people type to the name the server gives itself, and
    the first of them is the default. `adapter` opens a visit; it imports the driver on first use, so that a missing
    driver harms this engine only. `script`, `remarks`, `lock`, `revoke` and `nameless` are those of the engine's
    `account` module. `needs_database`: there is no usual database to connect to, so an instance has to name it.
    `has_hosts`: an account is a name and the host that it connects from. `grants_per_database`: depths B and C need a
    right on each database.
    """

    name: str
    label: str
    port: int
    products: dict[str, str]
    adapter: Callable[[Target], Adapter]
    semantics: Semantics
    script: Script
    remarks: Remarks
    lock: Callable[[Subject], list[str]]
    revoke: Callable[[Subject, Sequence[Held], Sequence[AccountKey]], Remedy]
    nameless: Callable[[Subject], str]
    needs_database: bool = False
    has_hosts: bool = False
    grants_per_database: bool = False
