"""What the server does in a second and what that costs, beside programs that do the same: `make bench`.

`python -m benchmarks [NAME …]` runs them (`__main__.py`); each is a module with a `TITLE` and a function
`results` that takes a `Plan` and yields a `Row` or a `Curve` as soon as it has one. `docs/benchmarks.md`
tells how to read them.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT / "tests") not in sys.path:  # the server as a process of its own is the tests' too
    sys.path.append(str(ROOT / "tests"))
