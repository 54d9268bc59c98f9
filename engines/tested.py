"""How far each version of each engine is proven: what the tests visit on real servers, and what they emulate."""

from collections.abc import Mapping

#: Product → versions, as its version numbers begin.
ON_REAL_SERVERS = {
    "PostgreSQL": ("12", "13", "14", "15", "16", "17", "18"),
    "MariaDB": ("10.11", "11.8"),
    "MySQL": ("9.7",),
}
#: Tables laid out as the manuals describe them.
ON_EMULATED_CATALOGUES = {
    "MySQL": ("5.7", "8.0", "8.4"),
    "Oracle": ("12.1", "19", "23"),
}


def _names(versions: Mapping[str, tuple[str, ...]], product: str, version: str) -> bool:
    return any(f"{version}.".startswith(f"{begin}.") for begin in versions.get(product, ()))


def how_tested(product: str, version: str) -> str:
    """ "real", "emulated", or "" for a version that no test visits."""
    if _names(ON_REAL_SERVERS, product, version):
        return "real"
    return "emulated" if _names(ON_EMULATED_CATALOGUES, product, version) else ""
