"""What `mta completion` prints, loaded by the shell it is for."""

from __future__ import annotations

import subprocess

import pytest
from programs import program

from twisted_mta.service.commands.cli import main


def printed(capsys: pytest.CaptureFixture[str], shell: str) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["que"], {"queue"}),
        (["queue", "re"], {"retry", "release", "remove", "reroute"}),
        (["-c", "queue", "tr"], {"trace"}),
        (["--config", "x", "account", "app-password", "a"], {"add"}),
        (["queue", "list", "--j"], {"--json"}),
        (["completion", "b"], {"bash"}),
        (["queue", "bounce", "queue", "re"], set()),
    ],
)
def test_in_bash(capsys: pytest.CaptureFixture[str], typed: list[str], offered: set[str]) -> None:
    words = " ".join(f"'{word}'" for word in ["mta", *typed])
    ask = f'COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _mta; echo "${{COMPREPLY[@]}}"'
    script = f"{printed(capsys, 'bash')}\n{ask}"
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(shell.stdout.split()) == offered and not shell.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_it(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    found = program(shell)
    before = "autoload -U compinit && compinit -D\n" if shell == "zsh" else ""
    text = before + printed(capsys, shell)
    run = subprocess.run([found, "-c", text], capture_output=True, text=True)
    assert run.returncode == 0 and not run.stderr, run.stderr
