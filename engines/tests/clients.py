"""The engines' clients, with SQL on stdin as if pasted by a superuser."""

from __future__ import annotations

import subprocess
from typing import Any

from taifish.tests.mariadb import MysqlFamilyServer
from taifish.tests.postgres import PostgresServer
from taifish.tests.servers import DEBIAN, psql


def paste(server: PostgresServer | MysqlFamilyServer, text: str, *options: str) -> str:
    """The output of the client, with errors. It continues after an error, as in a terminal."""
    ran = subprocess.run(
        [*_client(server), *options],
        input=text.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"},
    )
    return ran.stdout.decode(errors="replace")


def _client(server: Any) -> list[str]:
    if isinstance(server, PostgresServer):
        cluster = server.cluster
        place = ["-h", str(cluster.socket_dir), "-p", str(cluster.port), "-U", cluster.superuser, "-d", "postgres"]
        return [str(psql()), "--no-psqlrc", "--no-password", *place]
    client = server.programs / "bin" / DEBIAN[server.name].programs[1]
    place = [f"--socket={server.socket}", f"--user={server.superuser}"]
    return [str(client), "--no-defaults", "--force", "--default-character-set=utf8mb4", *place]
