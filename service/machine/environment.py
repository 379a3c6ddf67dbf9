"""The `CONVOY_*` variables of the environment: those that are settings, and all others.

Kubernetes gives each container variables for the Services of its namespace. Those of a Service that
is named convoy, or convoy-grpc, look like settings; they are ignored. Other variables that are no
settings are mistakes: they are named in the log.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping

PREFIX = "CONVOY_"

ALIKE = 0.85
"""
Minimum similarity of two names of which one is a misspelling.

With the same prefix, the names of other commands, such as CONVOY_TOKEN, are up to 0.83 alike.
"""

logger = logging.getLogger(__name__)

# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_SERVICE = re.compile(
    r"(?P<service>CONVOY(_[A-Z0-9_]+?)?)"
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_URL = re.compile(r"(tcp|udp|sctp)://.*")


def variable_name(setting: str) -> str:
    """Return the variable of *setting*."""
    return f"{PREFIX}{setting.upper()}"


def read_variable(name: str) -> str | None:
    """Return the variable *name*, whatever its case; None if it is not set, or is a Service's."""
    variables = {key.upper(): value for key, value in os.environ.items()}  # noqa: TID251
    value = variables.get(name)
    return None if value is None or _service(name, value) else value


def warn_of_variables(
    settings: Collection[str],
    variables: Mapping[str, str] = os.environ,  # noqa: TID251 - only names that are not settings
) -> None:
    """
    Warn of variables that begin with `CONVOY_` and are none of *settings*.

    Args:
        settings: Names of the settings, such as `grpc_port`.
    """
    known = list(map(variable_name, settings))
    of_services = defaultdict(list)
    for name, value in sorted(variables.items()):
        # Case 1: Kubernetes has made it, perhaps under the name of a setting.
        if service := _service(name, value):
            of_services[service].append(name)
        # Case 2: it is misspelt, or belongs to another version or command.
        elif name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=ALIKE)
            logger.warning(
                "variable ignored: `convoy serve` has no such setting",
                extra={"variable": name, **({"closest": close[0]} if close else {})},
            )
    for service, names in of_services.items():
        logger.warning(
            "variables of a Kubernetes Service ignored: set enableServiceLinks: false in the pod",
            extra={"service": service, "variables": names},
        )


def _service(name: str, value: str) -> str:
    """Return the name of the Service that Kubernetes made a variable for; empty if it did not."""
    found = _OF_SERVICE.fullmatch(name)
    # A setting can have the same name as a Service's variable, but never a URL as its value.
    if not found and name.endswith("_PORT") and _URL.fullmatch(value):
        found = re.fullmatch(r"(?P<service>CONVOY(_[A-Z0-9_]+)?)_PORT", name)
    return found["service"].lower().replace("_", "-") if found else ""
