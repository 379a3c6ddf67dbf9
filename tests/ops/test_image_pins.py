"""The packages of the server image have the versions that everything is tested with."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Versions by package, as a requirements file has them."""
    text = (ROOT / name).read_text()
    return {package.lower().replace("_", "-"): version for package, version in PIN.findall(text)}


def test_pins_agree() -> None:
    """
    Each package of the image has the version of constraints.txt; `make lock` brings it there.
    """
    image, everything = pins("deploy/requirements-server.txt"), pins("constraints.txt")
    assert len(image) > 20
    assert image == {package: everything[package] for package in image}


def test_every_pin_has_hashes() -> None:
    """
    pip refuses what was changed under the same version.
    """
    text = (ROOT / "deploy/requirements-server.txt").read_text()
    blocks = re.split(r"\n(?=[A-Za-z])", text[text.index("annotated-types") :])
    for block in blocks:
        assert "--hash=sha256:" in block, block
