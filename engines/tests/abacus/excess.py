"""Rights of a collection account on an abacus beyond need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engines.facts import Excess
from engines.session import Rows


def excess(session: Any, rows: Mapping[str, Rows], hash_blind: bool) -> Iterator[Excess]:
    for (privilege,) in session.query("SELECT privilege FROM rights WHERE user = ?", [session.account]):
        yield Excess(privilege, "It counts nothing.", f"REVOKE {privilege} FROM {session.account};")
