"""Programs of the system that some tests use; `tests/install_programs` installs them."""

from __future__ import annotations

import os
import shutil


def program(name: str) -> str:
    """The path of a program. Without it the test is skipped, or fails where CI=true."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        import pytest  # benchmarks look themselves, and have none

        missing = f"{name} is not installed; tests/install_programs installs it when run as root"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found
