"""PyMySQL with restricted login methods, for servers that have not proved their identity.

PyMySQL accepts any login method that the server requests, and sends a first response before the request. MySQL's login
methods:
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods.html
"""

from __future__ import annotations

from typing import Any

from pymysql import _auth
from pymysql.connections import Connection
from pymysql.constants import CLIENT

from ..certificates import no_tls, unproven, watching_context
from ..errors import AdapterError
from ..target import Target
from .errors import refuse_imitation

NATIVE = "mysql_native_password"
CACHING = "caching_sha2_password"

#: The allowed methods, by `Target.may_send`. A signature of ed25519 is valid for one login only.
METHODS = {
    "nothing": frozenset({"client_ed25519"}),
    "hashes": frozenset({"client_ed25519", NATIVE, CACHING}),
}

#: The method that reveals nothing to an impostor, for hints.
SIGNED = "use ed25519 for the account (MariaDB)"


def prefer_tls(connection: Connection) -> None:
    """Let it go on without TLS where the server has none, as PyMySQL does if it gets no context."""
    connection._ssl_required = False
    connection.client_flag &= ~CLIENT.SSL


class GuardedConnection(Connection):
    """A connection that refuses methods, and certificates other than the pinned one, before it sends anything that an
    impostor could use. Connecting also raises AdapterError."""

    _auth_plugin_name: str

    def __init__(self, target: Target, **arguments: Any) -> None:
        self.target = target
        self.context = watching_context(target)
        tls = {"ssl_disabled": True} if target.tls_mode == "disable" else {"ssl": self.context}
        super().__init__(defer_connect=True, auth_plugin_map={CACHING: FastPath}, **tls, **arguments)
        if self.ssl and not target.needs_tls:
            prefer_tls(self)

    def _get_server_information(self) -> None:
        super()._get_server_information()
        refuse_imitation(self.server_version)
        if self.target.needs_tls and not self.server_capabilities & CLIENT.SSL:
            raise no_tls(self.target)
        # The first response is for the server's default method, sent before the server names the account's method. If
        # the default is not allowed, the response is empty, as PyMySQL's is for unknown methods.
        if not self._may(self._auth_plugin_name or NATIVE):
            if not self.server_capabilities & CLIENT.PLUGIN_AUTH:
                raise self.refusal(NATIVE)
            self._auth_plugin_name = "none"

    def _process_auth(self, plugin_name: bytes, auth_packet: Any, handler: Any = None) -> Any:
        method = plugin_name.decode("ascii", "replace")
        if not self._may(method):
            raise self.refusal(method)
        return super()._process_auth(plugin_name, auth_packet, handler)

    def _may(self, method: str) -> bool:
        may_send = self.target.may_send
        return may_send == "all" or method in METHODS[may_send]

    def refusal(self, method: str) -> AdapterError:
        return unproven(self.target, method, self.context.seen, SIGNED)


class FastPath:
    """caching_sha2_password. If the server has no cached hash, it requests the password itself, which is refused unless
    `may_send` is "all"."""

    def __init__(self, connection: GuardedConnection) -> None:
        self.connection = connection

    def authenticate(self, packet: Any) -> Any:
        connection = self.connection
        if connection.target.may_send == "all":
            return _auth.caching_sha2_password_auth(connection, packet)
        if packet.is_auth_switch_request():
            connection.salt = packet.read_all().removesuffix(b"\0")
            connection.write_packet(_auth.scramble_caching_sha2(connection.password, connection.salt))
            packet = connection._read_packet()
        if packet.is_extra_auth_data() and packet.get_all_data()[1:] != b"\x03":
            raise connection.refusal(f"the password itself ({CACHING} without its cache)")
        return connection._read_packet() if packet.is_extra_auth_data() else packet
