"""Message brokers of a test's own: Redis and RabbitMQ, to start, to kill and to start again with the data they had."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress

from taifish.tests.postgres import free_port
from taifish.tests.servers import FOLDER, missing, unpacked
from taifish.tests.watcher import private_folder, processes


class Broker:
    """A broker on a port of 127.0.0.1. Subclasses say how it is started; `processes` are all those of its folder."""

    name: str
    scheme: str

    def __init__(self) -> None:
        if not unpacked(self.name):
            missing(self.name)
        self.folder = private_folder(self.name)
        self.port = free_port()
        self.log = self.folder / "log"

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment."""
        raise NotImplementedError

    def greets(self, connection: socket.socket) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        argv, environment = self.command()
        with self.log.open("ab") as log:
            subprocess.Popen(
                argv,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 240
        while not self.is_ready():
            assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-3000:]
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return self.greets(connection)
        except OSError:
            return False

    def kill9(self) -> None:
        while left := processes([str(self.folder)]):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            time.sleep(0.01)

    def remove(self) -> None:
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Broker):
    """Redis 7. With `keeps` it writes each command to disk; else a kill loses every message."""

    name = "redis"

    def __init__(self, keeps: bool) -> None:
        super().__init__()
        self.keeps = keeps

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> tuple[list[str], dict[str, str]]:
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if self.keeps else ["--appendonly", "no"]
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        # In the command line, for those who end what the test left behind.
        return [str(FOLDER / "redis/bin/redis-server"), *options, *kept], {}

    def greets(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


class RabbitMQ(Broker):
    """RabbitMQ 3.10; its port mapper runs beside it."""

    name = "rabbitmq"

    def __init__(self) -> None:
        super().__init__()
        self.mapper_port, self.node_port = free_port(), free_port()
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def command(self) -> tuple[list[str], dict[str, str]]:
        environment = {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"taifish{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.node_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            # The shell becomes the server: there is one process to kill.
            "RUNNING_UNDER_SYSTEMD": "1",
        }
        return [str(FOLDER / "rabbitmq/bin/rabbitmq-server")], environment

    def start(self) -> None:
        # The server would start one that outlives it.
        with self.log.open("ab") as log:
            self.mapper = subprocess.Popen(
                [str(FOLDER / "rabbitmq/bin/epmd"), "-port", str(self.mapper_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        super().start()

    def kill9(self) -> None:
        super().kill9()
        self.mapper.kill()
        self.mapper.wait()

    def greets(self, connection: socket.socket) -> bool:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return bool(connection.recv(16))
