"""The target of a visit, and how far its server is trusted with the password."""

from __future__ import annotations

from dataclasses import dataclass, field

TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True)
class Target:
    """Where to connect, and the time limits. Times in seconds; `budget` limits the whole visit.

    `proof` decides which login methods are allowed with a server that has not proved its identity: "strict" those that
    reveal nothing to an impostor (SCRAM, ed25519), "hashes" also those that reveal a hash (md5, mysql_native_password,
    fast path of caching_sha2_password, Oracle), "as_before" any, as in earlier releases. `certificate` is the SHA-256
    fingerprint that the server's certificate must have, in lower-case hex; `compared` means that a person compared it,
    so that it proves the server's identity.

    `client_certificate` and `client_key` are paths of PEM files, for a login by certificate.

    Two depend on the engine (`Engine.tls`). `system_authorities`: TLS mode verify-ca without a CA file uses
    the system's authorities. `tls_port`: TLS has a separate port, so that mode "prefer" never uses TLS.
    """

    engine: str
    host: str
    username: str
    password: str = field(default="", repr=False)
    port: int | None = None
    database: str = ""
    tls_mode: str = "prefer"
    tls_ca: str = ""
    proof: str = "as_before"
    certificate: str = ""
    compared: bool = False
    connect_timeout: int = 10
    statement_timeout: int = 60
    budget: int = 600
    level: str = "A"
    application_name: str = "taifish"
    system_authorities: bool = True
    tls_port: bool = False
    client_certificate: str = ""
    client_key: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the host is a Unix socket, and traffic stays on the machine."""
        return self.host.startswith("/")

    @property
    def is_verified(self) -> bool:
        """Whether a certificate authority proves the server. The system's authorities sign for any host, so with them
        the host name must be verified too."""
        named = bool(self.tls_ca) or not self.system_authorities
        return self.tls_mode == "verify-full" or (self.tls_mode == "verify-ca" and named)

    @property
    def is_guarded(self) -> bool:
        """Whether the adapter must restrict login methods and check the certificate."""
        return self.proof != "as_before" and not self.is_local and not self.is_verified

    @property
    def needs_tls(self) -> bool:
        """Whether a connection without TLS is refused: by the mode, or because TLS was used before."""
        if self.tls_mode != "prefer":
            return self.tls_mode != "disable"
        return self.is_guarded and bool(self.certificate) and not self.tls_port

    @property
    def may_send(self) -> str:
        """What may be sent to the server: "all" (the password), "hashes" of it, or "nothing" that helps an impostor.

        A certificate that no person compared proves only that the server is the same as before.
        """
        proved = bool(self.certificate) and self.compared and self.needs_tls
        if not self.is_guarded or proved or not self.password:
            return "all"
        return "hashes" if self.proof == "hashes" else "nothing"
