"""One connection to an abacus: a SQLite file with its path as the host."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engines.errors import AdapterError
from engines.facts import ServerInfo
from engines.session import Rows, Session


class AbacusSession(Session):
    _connection: sqlite3.Connection | None = None

    def connect(self) -> ServerInfo:
        if not Path(self.target.host).is_file():
            raise AdapterError(f"{self.target.host} is not there", code="unreachable", hint="Name an abacus.")
        self.account = self.target.username
        self._connection = sqlite3.connect(f"file:{self.target.host}?mode=ro", uri=True)
        ((version,),) = self.query("SELECT sqlite_version()")
        return ServerInfo("Abacus", version, "sqlite3")

    def close(self) -> None:
        if self._connection:
            self._connection.close()

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> Rows:
        assert self._connection
        try:
            return self._connection.execute(sql, parameters or ()).fetchall()
        except sqlite3.Error as error:
            raise AdapterError(str(error), code="denied", missing=f"GRANT SELECT TO {self.account};") from None
