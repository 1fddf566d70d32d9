"""What coverage has measured, by the rooms of the package: a table. Arguments: the rooms, if not all of them.

Lines, not branches: those double what the measuring costs."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from coverage import Coverage

PACKAGE = Path(__file__).parent.parent / "twisted_mta"


def main(rooms: list[str]) -> None:
    """Reads `.coverage` in the working directory."""
    measured = Coverage(messages=False)
    measured.load()
    lines: defaultdict[str, int] = defaultdict(int)
    missed: defaultdict[str, int] = defaultdict(int)
    for module in sorted(PACKAGE.rglob("*.py")):
        room = module.relative_to(PACKAGE).parts[0]
        if not rooms or room in rooms:
            _, statements, _, missing, _ = measured.analysis2(str(module))
            for row in (room, "together"):
                lines[row] += len(statements)
                missed[row] += len(missing)
    print(f"{'room':<22}{'lines':>8}{'covered':>9}")
    for row in sorted(lines, key=lambda row: (row == "together", row)):
        if lines[row]:
            print(f"{row:<22}{lines[row]:>8}{1 - missed[row] / lines[row]:>9.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
