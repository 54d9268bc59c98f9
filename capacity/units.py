"""Bytes as people read them. Stored and sent they stay bytes."""

from __future__ import annotations

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def bytes_label(size: int | None, *, signed: bool = False) -> str:
    """ "1.5 GiB"; with `signed`, "+1.5 GiB". Three significant digits, "–" for what is not known."""
    if size is None:
        return "–"
    value, unit = float(abs(size)), 0
    # Rounded first: 1023.9 KiB would show as 1024.
    while unit < len(UNITS) - 1 and round(value, 0 if value >= 100 else 1) >= 1024:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    sign = "-" if size < 0 else "+" if signed and size else ""
    return f"{sign}{value:.{digits}f} {UNITS[unit]}"
