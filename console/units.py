"""Format and parse sizes. The store and the API use bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from django.utils.translation import gettext

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def bytes_label(size: int | None, *, signed: bool = False) -> str:
    """Return "1.5 GiB", or "+1.5 GiB" with `signed`: three significant digits, "–" for None."""
    if size is None:
        return "–"
    value, unit = float(abs(size)), 0
    # Round before comparing: 1023.9 KiB would show as 1024.
    while unit < len(UNITS) - 1 and round(value, 0 if value >= 100 else 1) >= 1024:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    sign = "-" if size < 0 else "+" if signed and size else ""
    return f"{sign}{value:.{digits}f} {UNITS[unit]}"


def parsed_bytes(text: str) -> int:
    """Parse "500 GiB", "1.5T" or "1048576" into bytes. A unit without i is binary too, as on servers. Raises
    ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*([KMGTPE]?)i?B?\s*", text, re.IGNORECASE)
    size = round(Decimal(match[1].replace(",", ".")) * 1024 ** "_KMGTPE".index(match[2].upper() or "_")) if match else 0
    if not 0 < size < 2**63:
        raise ValueError(gettext("“%s” is not a size. Enter a size such as 500 GiB, or a number of bytes.") % text)
    return size
