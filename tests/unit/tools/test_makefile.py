import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def _listed(target: str) -> list[str]:
    shown = subprocess.run(["make", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    return re.findall(r"^  make (\S+)", shown.stdout, re.MULTILINE)


def test_each_command_is_listed_once() -> None:
    """
    `make` lists the commands for users and `make help-dev` those for developers.
    """
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    commands = set(phony[1].split()) - {"help", "help-dev"}
    users, developers = _listed("help"), _listed("help-dev")
    assert {"setup", "demo", "serve"} <= set(users)
    assert sorted(users + developers) == sorted(commands)
