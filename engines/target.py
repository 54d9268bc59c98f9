"""Where a visit goes, and how far the server is trusted with the password."""

from __future__ import annotations

from dataclasses import dataclass, field

TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")

#: How far an instance may be trusted with the password before it has proved who it is:
PROOFS = {
    "strict": "nothing that helps an impostor: SCRAM, ed25519",
    "hashes": "also a hash to crack: md5, mysql_native_password, caching_sha2_password's fast path, Oracle's login",
    "as_before": "whatever the server asks for, as in releases before there was this choice",
}


@dataclass(frozen=True)
class Target:
    """Where to connect and how long to wait. Times in seconds; `budget` bounds the whole visit.

    `proof` is a key of PROOFS. `certificate` is the SHA-256 fingerprint that the server's certificate must have, in
    lower-case hex; `compared` says that a person vouched for it, so that it proves who the server is.

    The last two depend on the engine (`Engine.tls`): TLS mode verify-ca without a CA file takes the authorities of the
    system, and TLS has a port of its own, so that mode "prefer" is always without.
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

    @property
    def is_local(self) -> bool:
        """Whether it is a Unix socket, which does not leave the machine."""
        return self.host.startswith("/")

    @property
    def is_verified(self) -> bool:
        """Whether TLS proves the server by an authority. Those of the system sign for everybody: with them the host
        name must be checked too."""
        named = bool(self.tls_ca) or not self.system_authorities
        return self.tls_mode == "verify-full" or (self.tls_mode == "verify-ca" and named)

    @property
    def is_guarded(self) -> bool:
        """Whether the adapter must watch what it sends, and the certificate."""
        return self.proof != "as_before" and not self.is_local and not self.is_verified

    @property
    def needs_tls(self) -> bool:
        """Whether plain text is out of the question: the mode says so, or TLS was used before."""
        if self.tls_mode != "prefer":
            return self.tls_mode != "disable"
        return self.is_guarded and bool(self.certificate) and not self.tls_port

    @property
    def may_send(self) -> str:
        """What the server may be sent of the password: "all", "hashes" or "nothing" that helps an impostor.

        A certificate that was pinned without a person shows that the server is the same as before, not who it is.
        """
        proved = bool(self.certificate) and self.compared and self.needs_tls
        if not self.is_guarded or proved or not self.password:
            return "all"
        return "hashes" if self.proof == "hashes" else "nothing"
