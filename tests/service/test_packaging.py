"""`pip install .` and `pip install -e .` both make `twistd mta` and `mta` appear.

Each is done in a virtual environment of its own. Only the build backend is fetched: the libraries are lent
from the environment that runs the tests.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from process import ROOT

from twisted_mta.service.commands.cli import DEFAULT, _parser


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


def test_the_image_watches_over_the_server_it_starts() -> None:
    text = (ROOT / "etc/Containerfile").read_text()
    program, *arguments = json.loads(re.findall(r"(?m)^HEALTHCHECK .* CMD (\[.*\])$", text)[0])
    options = _parser().parse_args(arguments)
    assert (program, options.command.__name__, str(options.config)) == ("mta", "health", DEFAULT)
    assert json.loads(re.findall(r"(?m)^ENTRYPOINT (\[.*\])$", text)[0])[-1] == DEFAULT
