"""The command line of every command: flags, variables, errors, suggestions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convoy.__main__ import main
from convoy.commands.command_line import OptionsCommand
from convoy.commands.group import COMMANDS, CONVOY
from convoy.commands.parameters import Parameter
from convoy.options import Options
from tests.harness.settings import read

POSITIONALS = {
    "export": ["lenet5"],
    "import": ["net.onnx"],
    "classify": ["a.png"],
    "token": ["web", "infer"],
    "describe": ["lenet5"],
    "bench": ["lenet5"],
    "tune": ["lenet5"],
    "completion": ["bash"],
}
"""Arguments that a command needs."""


@cache
def command_of(name: str) -> OptionsCommand[Any]:
    command = CONVOY.get_command(click.Context(CONVOY), name)
    assert isinstance(command, OptionsCommand)
    return command


def options_of(name: str) -> Iterator[Parameter]:
    """Yield the parameters of a command that have a flag."""
    for parameter in command_of(name).params:
        if isinstance(parameter, Parameter) and isinstance(parameter, click.Option):
            yield parameter


OPTIONS = [(name, option) for name in COMMANDS for option in options_of(name)]
VALUES = [pair for pair in OPTIONS if not getattr(pair[1], "is_flag", False)]
SWITCHES = [pair for pair in OPTIONS if getattr(pair[1], "is_flag", False)]

TEXTS = st.sampled_from(
    [
        *("", "0", "1", "-1", "1.5", "1e-4", "nan", "true", "a", "a.b", "../a", "a b", "*", "224"),
        *("240x320", "1,2", "0.5, 0.25", "a,b", "a=1", "a=all,b=latest:2", "a=", '["a"]', "[1"),
        *(
            '{"a": "all"}',
            "{",
            "4GiB",
            "4 gigs",
            "auto",
            "cuda",
            "poll",
            "png",
            "folder:a",
            "mnist",
        ),
        *("localhost", "localhost:80", "::1", "https://a.example", "/models", "=", ",", "[]"),
    ]
) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def outcome(name: str, arguments: list[str], source: str) -> Options | str:
    """Return the settings; or the error, without its source: the flag or the variable."""
    try:
        return read(command_of(name).options, arguments)
    except click.UsageError as error:
        return error.format_message().removeprefix(f"{source}: ")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no variable of the developer's."""
    for _, option in OPTIONS:
        monkeypatch.delenv(str(option.envvar), raising=False)


@settings(
    max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(option=st.sampled_from(VALUES), text=TEXTS)
def test_variable_accepts_what_the_flag_accepts(option: tuple[str, Parameter], text: str) -> None:
    """
    Every option with a value means the same in the environment, and refuses the same.
    """
    name, parameter = option
    flag, variable = parameter.opts[0], str(parameter.envvar)
    usual = POSITIONALS.get(name, [])
    with pytest.MonkeyPatch.context() as patch:
        by_flag = outcome(name, [*usual, f"{flag}={text}"], flag)
        patch.setenv(variable, text)
        by_variable = outcome(name, usual, variable)
    # A variable may be meant for another command: `convoy export` refuses flags only.
    if "only for" not in str(by_flag):
        assert by_variable == by_flag


@pytest.mark.parametrize("name", POSITIONALS)
def test_argument_by_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Every argument can come from its variable.
    """
    others = ["--token-file", "tokens"] if name == "token" else []
    expected = read(command_of(name).options, [*POSITIONALS[name], *others])
    arguments = [p for p in command_of(name).params if isinstance(p, click.Argument)]
    for argument, text in zip(arguments, POSITIONALS[name], strict=True):
        monkeypatch.setenv(str(argument.envvar), text)
    assert read(command_of(name).options, others) == expected


@pytest.mark.parametrize(
    ("name", "others", "message"),
    [
        ("promote", ["resnet50"], "missing argument 'VERSION'"),
        ("promote", [], "missing argument 'MODEL'"),
        ("shadow", ["--stop"], "missing argument 'MODEL'"),
        ("calibrate", ["--data", "folder:photos"], "missing argument 'MODEL'"),
        ("quantize", ["--images", "photos"], "missing argument 'MODEL'"),
        ("baseline", ["--data", "folder:photos"], "missing argument 'MODEL'"),
    ],
)
def test_variables_do_not_decide_what_changes(
    name: str,
    others: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    No variable chooses the model or the version that a command changes.
    """
    monkeypatch.setenv("CONVOY_MODEL", "lenet5")
    monkeypatch.setenv("CONVOY_VERSION", "2")
    assert main([name, *others]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("name", "option"), SWITCHES, ids=str)
def test_switch_by_variable(name: str, option: Parameter) -> None:
    """
    Every switch can be turned on and off by its flag and by its variable.
    """
    usual = POSITIONALS.get(name, [])
    for flag, words in (
        (option.opts[0], ("true", "1", "on", "YES")),
        (option.secondary_opts[0], ("false", "0", "off", "No")),
    ):
        expected = outcome(name, [*usual, flag], flag)
        for word in words:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(str(option.envvar), word)
                found = outcome(name, usual, str(option.envvar))
            if "only for" not in str(expected):
                assert found == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("clasify", "convoy: unknown command 'clasify'; did you mean classify?"),
        ("--versoin", "convoy: unknown option --versoin; did you mean --version?"),
        (
            "serve --grpc-prot 1",
            "convoy serve: unknown option --grpc-prot; did you mean --grpc-port?",
        ),
        (
            "export resnt50",
            "convoy export: NETWORK: unknown network 'resnt50'; did you mean resnet50?",
        ),
        (
            "export lenet5 --data cifar01",
            "convoy export: --data: unknown data set 'cifar01'; did you mean cifar10?",
        ),
        (
            "describe lenet6 --model-repository none",
            "convoy describe: 'lenet6' is neither a network nor a model in none; "
            "did you mean lenet5?",
        ),
        (
            "token #a infer --token-file x",
            "convoy token: NAME: '#a' is not valid; a name has no spaces, and does not begin with "
            "#",
        ),
        (
            "serve --http-root-path models/",
            "convoy serve: --http-root-path: 'models/' is not valid; expected a path such as "
            "/models",
        ),
        (
            "import a.onnx --name A",
            "convoy import: --name: 'A' is not valid; a model's name has up to 64 lower-case "
            "letters, digits, '_', '.' and '-', and begins with a letter or digit",
        ),
        ("import", "convoy import: missing argument 'FILE'; see convoy import --help"),
        ("serve a", "convoy serve: got unexpected extra argument (a); see convoy serve --help"),
        (
            "serve --host",
            "convoy serve: option '--host' requires an argument; see convoy serve --help",
        ),
        (
            "serve --tf32=1",
            "convoy serve: option '--tf32' does not take a value; see convoy serve --help",
        ),
        (
            "export lenet5 --seed -1",
            "convoy export: --seed: -1 is out of range; must be at least 0",
        ),
        ("token web all", "convoy token: missing option '--token-file'; see convoy token --help"),
        (
            "token web all --token-file x",
            "convoy token: RIGHT: 'all' is not a choice; expected 'infer', 'observe' or 'control'",
        ),
        (
            "import a.onnx --resize 2x9999",
            "convoy import: --resize: 9999 is out of range; must be at most 4096",
        ),
        (
            "classify a.png --model-version 9223372036854775808",
            "convoy classify: --model-version: 9223372036854775808 is out of range; must be at "
            "most 9223372036854775807",
        ),
        ("bench m --rate 1,0", "convoy bench: --rate: 0 is out of range; must be greater than 0"),
    ],
)
def test_errors(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    An error is one line with the remedy, and ends the command with code 2, or 1 if it read files.
    """
    assert main(line.split()) == (1 if line.startswith("describe") else 2)
    assert capsys.readouterr().err == f"{message}\n"


def test_each_problem_has_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Several problems are told at once, each with the flag or the variable that it came by.
    """
    monkeypatch.setenv("CONVOY_GRPC_PORT", "x")
    assert main(["serve", "--http-port", "65536", "--device", "tpu"]) == 2
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "convoy serve: --device: 'tpu' is not a choice; expected 'auto', 'cuda' or 'cpu'",
        "convoy serve: --http-port: 65536 is out of range; must be at most 65535",
        "convoy serve: CONVOY_GRPC_PORT: 'x' is not a whole number",
    ]


def test_former_names_of_flags() -> None:
    """
    The name of a field is a flag, too, where the help shows a shorter one.
    """
    for name, short, long in (
        ("models", "--json", "--print-json"),
        ("classify", "--csv", "--print-csv"),
        ("compare", "--from=a", "--from-file=a"),
        ("bench", "--json=a", "--json-file=a"),
    ):
        usual = POSITIONALS.get(name, [])
        made = [read(command_of(name).options, [*usual, flag]) for flag in (short, long)]
        assert made[0] == made[1] != read(command_of(name).options, usual)


def test_paths_keep_their_commas() -> None:
    """
    Arguments are paths as a shell gives them, which may hold commas.
    """
    chosen = read(command_of("classify").options, ["a,b.png", "c.png"])
    assert [str(path) for path in chosen.paths] == ["a,b.png", "c.png"]


SCRIPT = """\
import sys
for package in ("torch", "onnx", "onnxruntime", "grpc", "numpy", "PIL", "rich", "starlette"):
    sys.modules[package] = None  # fails to import
from convoy.__main__ import main
from convoy.commands.group import COMMANDS
for arguments in ([], ["--version"], *([name, "--help"] for name in COMMANDS)):
    assert main(list(arguments)) == 0, arguments
for arguments in (["serv"], ["serve", "--helm"], ["export", "resnt50"], ["tune"], ["bench"]):
    assert main(arguments) == 2, arguments
"""


def test_help_and_mistakes_wait_for_no_library() -> None:
    """
    Help, and suggestions for misspelt names, need neither PyTorch nor any other large package.
    """
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["describe", "tune"])
@pytest.mark.parametrize("url", ["s3://bucket/models", "s3:/bucket/models", "az://models"])
def test_repository_in_a_store_is_refused(
    name: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A command that uses folders makes none with the name of a URL.
    """
    assert main([name, *POSITIONALS[name], "--model-repository", url]) == 2
    assert f"{url} is a URL, and this command uses folders only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["calibrate", "lenet5", "--data", "folder:photos"],
        ["export", "lenet5"],
        ["import", "net.onnx"],
        ["quantize", "lenet5", "--data", "folder:photos"],
        ["bulk", "lenet5", "photos", "--to", "labels"],
        ["serve"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_half_a_url(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    A command that writes to stores makes no folder with the name of half a URL.
    """
    assert main([*arguments, "--model-repository", "s3:/bucket/models"]) == 2
    told = capsys.readouterr().err
    assert "s3:/bucket/models is no URL; write s3://bucket/models" in told


@pytest.mark.parametrize(
    "arguments", [["bulk", "lenet5", "photos", "--to"], ["serve", "--prediction-log"]]
)
def test_half_a_url_of_results(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    Labels and logs are not written to a folder with the name of half a URL, either.
    """
    assert main([*arguments, "s3:/bucket/results"]) == 2
    told = capsys.readouterr().err
    assert f"{arguments[-1]}: s3:/bucket/results is no URL; write s3://bucket/results" in told


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["--version"], ["describe", "lenet5", "--json"]])
def test_output_that_cannot_be_written(arguments: list[str]) -> None:
    """
    A full disk behind the output is an error in one line.
    """
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "convoy", *arguments], stdout=full, stderr=PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "convoy: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "--model", "m", "--address", "127.0.0.1:1", "--csv"],
        ["describe", "lenet5"],
        ["describe", "lenet5", "--json"],
    ],
    ids=" ".join,
)
def test_reader_that_ends_first(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A long output, a table, and one without a buffer, as in a container, end in the same way.
    """
    for number in range(200):
        (tmp_path / f"{number:0100}.png").touch()
    inputs = [str(tmp_path)] if arguments[0] == "classify" else []
    if not inputs:
        monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    command = [sys.executable, "-m", "convoy", *arguments, *inputs]
    process = Popen(command, stdout=PIPE, stderr=PIPE)
    assert process.stdout
    process.stdout.close()
    assert process.communicate()[1] == b""
    assert process.returncode == 141
