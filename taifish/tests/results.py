"""What the tests of faults have found, as one line of JSON each, and the table that docs/reliability.md shows.

A test calls `record`. With TAIFISH_TEST_RESULTS set to the path of a file the line is appended to it;
`python -m taifish.tests.results FILE` puts the table of all lines into the page.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- made by taifish/tests/results.py -->\n", "<!-- end -->\n"
COLUMNS = ("Fault", "What was tried", "How often", "Until all was well", "Lost or false")


def record(fault: str, tried: str, times: int, seconds: float, lost: int = 0) -> None:
    """`seconds` from the end of the fault until all was well; `lost` counts rows that are missing or false."""
    line = {"fault": fault, "tried": tried, "times": times, "seconds": round(seconds, 1), "lost": lost}
    print(json.dumps(line))
    if path := os.environ.get("TAIFISH_TEST_RESULTS"):
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")


def table(lines: list[dict[str, Any]]) -> str:
    """One row per fault and what was tried: the sum of times and the range of seconds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[line["fault"], line["tried"]].append(line)
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    for (fault, tried), those in groups.items():
        seconds = sorted(line["seconds"] for line in those)
        span = (
            f"{seconds[0]:.0f} s"
            if round(seconds[0]) == round(seconds[-1])
            else f"{seconds[0]:.0f}–{seconds[-1]:.0f} s"
        )
        lost = sum(line["lost"] for line in those)
        rows.append((fault, tried, str(sum(line["times"] for line in those)), span, str(lost) if lost else "nothing"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(file: str) -> None:
    lines = [json.loads(line) for line in Path(file).read_text().splitlines()]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table(lines)}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(sys.argv[1])
