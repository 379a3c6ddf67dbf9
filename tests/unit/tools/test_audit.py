"""`make audit` tells vulnerable packages from advisories that cannot be reached."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

UNREACHABLE = "echo 'ConnectionError: failed to resolve' >&2; exit 1"
UNKNOWN = "echo 'ERROR: Dependency not found and could not be audited' >&2; exit 1"

# pip-audit itself needs an index with advisories: this stands in for its answers.
KNOWN = """
if grep --quiet 'pip==24.0' "${@: -1}"; then echo 'pip 24.0 CVE-2025-8869'; exit 1; fi
"""


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        (KNOWN + "exit 0", 0, ""),
        (KNOWN + "echo 'pillow 9.0.0 PYSEC-2022-8'; exit 1", 1, "pillow 9.0.0 PYSEC-2022-8"),
        (UNREACHABLE, 69, "not audited"),
        (UNKNOWN, 69, "not audited"),
    ],
    ids=["sound", "vulnerable", "no connection", "no advisories"],
)
def test_exit_codes(tmp_path: Path, answers: str, code: int, words: str) -> None:
    """
    0 without known vulnerabilities, 1 with them, and 69 if nothing could be looked up.
    """
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/usr/bin/env bash\n{answers}\n")
    program.chmod(0o755)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("pillow==9.0.0\n")
    script = ROOT / "tools/audit.sh"
    done = subprocess.run(
        [script, program, requirements], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr
