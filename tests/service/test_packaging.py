"""`pip install .` and `pip install -e .` both make `twistd mta` and `mta` appear.

Each is done in a virtual environment of its own. Only the build backend is fetched: the libraries are lent
from the environment that runs the tests.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from process import ROOT


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=180, check=False
    )


@pytest.mark.parametrize("how", [[], ["--editable"]], ids=["plain", "editable"])
def test_an_installation_has_the_plugin_and_the_command(tmp_path: Path, how: list[str]) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
    done = run(*pip, "install", "--no-deps", *how, str(ROOT), cwd=tmp_path)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"pip could not install: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr

    where = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    lent = Path(where.stdout.strip()) / "lent.pth"
    lent.write_text(sysconfig.get_path("purelib") + "\n")

    twistd = run(str(python), "-c", "from twisted.scripts.twistd import run; run()", "--help", cwd=tmp_path)
    assert "mta " in twistd.stdout, twistd.stdout + twistd.stderr
    mta = run(str(tmp_path / "venv/bin/mta"), "--help", cwd=tmp_path)
    assert mta.stdout.startswith("usage: mta"), mta.stderr
    home = run(str(python), "-c", "import twisted_mta; print(twisted_mta.__file__)", cwd=tmp_path)
    assert Path(home.stdout.strip()).is_relative_to(ROOT if how else tmp_path)
