"""The help of every command: its words, its lines, its examples."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest

from convoy.__main__ import main
from convoy.commands.command_line import OptionsCommand
from convoy.commands.group import COMMANDS, CONVOY
from convoy.commands.parameters import Parameter
from tests.harness.settings import read

LINES = [[], *([name] for name in COMMANDS)]
NAMES_OF_TYPES = re.compile(
    r"Undefined|Secret|null|None\b|True|False|\{|\}|<|>|Path\(|tuple|Annotated|--no-print|\[\[|\x1b"
)

WITHOUT_VARIABLE = {
    "shadow": {"model", "version", "share", "stop"},
    "promote": {"model", "version"},
    **{name: {"model"} for name in ("quantize", "calibrate", "baseline")},
}
"""Options that decide what a command changes: no variable of another command sets them."""


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_lines_break_between_words(
    line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The help fits terminals of 60, 80 and 120 columns, and has the same words in each.
    """
    flag = "--help-all" if line == ["serve"] else "--help"
    texts = {}
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        texts[width] = shown([*line, flag], capsys)
        prose, _, examples = texts[width].partition("\nExamples:\n")
        # A flag and the form of its value are one word.
        lines = [line for line in prose.splitlines() if not line.startswith("  --")]
        assert max(map(len, lines)) <= width
        assert max(map(len, examples.splitlines())) <= 80
    assert texts[60].split() == texts[80].split() == texts[120].split()


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_help_is_for_people(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    No name of Python's types and no escape code is shown, and examples come last.
    """
    text = shown([*line, "--help"], capsys)
    prose, _, examples = text.partition("\nExamples:\n")
    assert not NAMES_OF_TYPES.search(prose)
    assert re.fullmatch(r"(  # .*\n(  .*\n)+\n?){1,3}", examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Each option has sentences, its default if it has one, and its variable if it has one.
    """
    command = CONVOY.get_command(click.Context(CONVOY), name)
    assert isinstance(command, OptionsCommand)
    text = shown([name, "--help-all" if name == "serve" else "--help"], capsys)
    for parameter in (p for p in command.params if isinstance(p, Parameter)):
        assert f"  {parameter.term}\n" in text
        assert not parameter.envvar or re.search(rf"\[env: {parameter.envvar}\]", text)
        assert re.fullmatch(r"[A-Z].*\.", parameter.field.description or "")
    variables = [p for p in command.params if isinstance(p, Parameter) and p.envvar]
    assert len(re.findall(r"\[env: ", text)) == len(variables)
    without = set(command.options.model_fields) - {parameter.name for parameter in variables}
    assert without == WITHOUT_VARIABLE.get(name, set())


def test_brief_help_of_serve(capsys: pytest.CaptureFixture[str]) -> None:
    """
    `convoy serve --help` shows the options that most users need, `--help-all` every one.
    """
    brief, full = (shown(["serve", flag], capsys) for flag in ("--help", "--help-all"))
    panels = ("Common", "Models", "Batching", "Security", "GPU", "Limits", "Observability")
    assert all(f"\n{panel}:\n" in brief for panel in panels)
    assert 10 < brief.count("[env:") < 25 < 60 < full.count("[env:")
    assert f"--help-all  Show all {full.count('[env:')} options" in brief


@pytest.mark.parametrize("name", ["bench", "classify", "evaluate", "models"])
def test_panel_of_the_connection(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The options of a connection have a panel, in which none of the command's own are.
    """
    panels = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", shown([name, "--help"], capsys), re.M))
    assert re.findall(r"^  (--\S+)", panels["Connection"], re.M) == [
        *("--address", "--token", "--tls", "--tls-ca", "--client-certificate", "--client-key"),
    ]


def test_values_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The name of a value tells its kind, and a default is written as a user would give it.
    """
    full, bench = shown(["serve", "--help-all"], capsys), shown(["bench", "--help"], capsys)
    for term, fact in (
        ("--grpc-port PORT", "[default: 8001]"),
        ("--token-file FILE", ""),
        ("--control / --no-control", "[default: on]"),
        ("--tf32", ""),
        ("--load-model NAME,...", ""),
        ("--version-policy NAME=POLICY,...", "[default: *=latest:1]"),
        ("--graph-cache-size SIZE", "[default: 4GiB]"),
        ("--max-queue-delay-ms MILLISECONDS", "[default: 0]"),
        ("--repository-poll-s SECONDS", "[default: 15]"),
        ("--max-image-bytes BYTES", "[default: 10485760]"),
        ("--device [auto|cuda|cpu]", "[default: auto]"),
    ):
        found = re.search(rf"^  {re.escape(term)}\n(      .*\n)+", full, re.MULTILINE)
        assert found, term
        assert ("[default:" in found[0]) == bool(fact)
        assert fact in found[0]
    assert "  --address HOST:PORT\n" in bench
    assert "  --concurrency N,...\n" in bench
    assert "  --images PATH,...\n" in bench


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_pasted(name: str) -> None:
    """
    Each command has examples, whose options exist and have valid values.
    """
    command = CONVOY.get_command(click.Context(CONVOY), name)
    assert isinstance(command, OptionsCommand)
    assert command.options.examples
    for _, line in command.options.examples:
        words = shlex.split(line.replace("\\\n", " "))
        if words[0] == "eval":  # convoy's output is for a shell
            words = words[1].strip("$()").split()
        words = words[: next((i for i, word in enumerate(words) if word in ">|"), None)]
        assert words[:2] == ["convoy", name]
        read(command.options, words[2:])


def test_pipe_gets_plain_text() -> None:
    """
    Output into a pipe has no escape codes, even of a process that is told to colour it.
    """
    command = [sys.executable, "-m", "convoy", "serve", "--help"]
    for variables in ({"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}):
        done = subprocess.run(command, capture_output=True, env=variables, check=True)
        assert b"\x1b" not in done.stdout
        assert done.stderr == b""
