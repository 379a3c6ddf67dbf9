"""Completion of command lines, by real shells where they are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convoy.__main__ import main

COMPLETE = """\
set -e
eval "$(convoy completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_convoy_completion convoy
printf '%s\\n' "${COMPREPLY[@]}"
complete -p convoy >&2
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with `convoy` and some files, which is the working directory and on the PATH."""
    script = tmp_path / "convoy"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m convoy "$@"\n')
    script.chmod(0o755)
    (tmp_path / "tokens").touch()
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cla"], {"classify"}),
        (["t"], {"token", "tune"}),
        (["serve", "--grpc-"], {"--grpc-port", "--grpc-message-timeout-s"}),
        (["serve", "--device", ""], {"auto", "cuda", "cpu"}),
        (["token", "web", "inf"], {"infer"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_bash(words: list[str], expected: set[str]) -> None:
    """
    Bash completes commands, options and their values.
    """
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", "convoy", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "_convoy_completion convoy" in done.stderr
    assert set(done.stdout.split()) == expected


@pytest.mark.usefixtures("path")
@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish() -> None:
    """
    Fish completes commands, with their purposes.
    """
    script = "convoy completion fish | source; complete --do-complete 'convoy cla'"
    done = subprocess.run(["fish", "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("classify\t"), done.stderr


@pytest.mark.usefixtures("path")
@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh() -> None:
    """
    Zsh accepts the script.
    """
    script = (
        'autoload -U compinit; compinit -u; eval "$(convoy completion zsh)"; print $_comps[convoy]'
    )
    done = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True)
    assert done.stdout.strip() == "_convoy_completion", done.stderr


@pytest.mark.parametrize(
    ("shell", "text"),
    [
        ("zsh", "classify\nClassify image files."),
        ("fish", "classify\tClassify image files."),
    ],
)
def test_answers_to_other_shells(
    shell: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The scripts for zsh and fish get commands with their purposes.
    """
    assert main(["completion", shell]) == 0
    assert f"_CONVOY_COMPLETE={shell}_complete" in capsys.readouterr().out
    monkeypatch.setenv("_CONVOY_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "convoy cla")
    monkeypatch.setenv("COMP_CWORD", "cla" if shell == "fish" else "1")
    assert main([]) == 0
    assert text in capsys.readouterr().out
