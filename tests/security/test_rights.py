"""Default deny: every rpc and every route refuses a client without the right that it needs.

Each entry is asked without a token, with an unknown one, and with a token of each right. The
requests name things that no server has, so that those which are admitted change nothing.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from convoy.service.security.access import NEEDED
from convoy.service.security.tokens import RIGHTS
from tests.security.entries import http_routes, rpcs
from tests.security.target import Credential, Target, Verdict

CREDENTIALS: list[Credential] = ["nothing", "unknown", *sorted(RIGHTS)]

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture(params=CREDENTIALS)
def credential(request: pytest.FixtureRequest, target: Target) -> Credential:
    """Return what a client sends; skips a right for which no token is given."""
    if request.param in RIGHTS and request.param not in target.tokens:
        pytest.skip(f"CONVOY_TOKEN_{request.param.upper()} holds no token")
    return request.param


def expected(method: str, credential: Credential, *, control: bool = True) -> Verdict:
    """Return the verdict by the table; *control* says whether the port offers model control."""
    needed = NEEDED[method]
    if needed == "control" and not control:
        return "PERMISSION_DENIED"
    if needed == "none":
        return "admitted"
    if credential in ("nothing", "unknown"):
        return "UNAUTHENTICATED"
    return "admitted" if needed in ("any", credential) else "PERMISSION_DENIED"


def offers_control(target: Target) -> bool:
    """Return whether the public port offers model control; a server that is given need not."""
    if target.process or "control" not in target.tokens:
        return not target.control
    return target.call_verdict(LOG_SETTINGS, "control") == "admitted"


LOG_SETTINGS = "/inference.GRPCInferenceService/LogSettings"


def test_rpcs(target: Target, credential: Credential) -> None:
    """Every rpc admits exactly the clients that the table says."""
    control = offers_control(target)
    verdicts = {rpc.path: target.call_verdict(rpc.path, credential) for rpc in rpcs()}
    assert verdicts == {
        rpc.path: expected(rpc.method, credential, control=control) for rpc in rpcs()
    }


async def test_routes(target: Target, credential: Credential) -> None:
    """Every route admits exactly the clients that the table says."""
    control = offers_control(target)
    verdicts = {route: await target.route_verdict(route, credential) for route in http_routes()}
    assert verdicts == {
        route: expected(route.method, credential, control=control) for route in http_routes()
    }


async def test_other_methods(target: Target) -> None:
    """A route answers a method that it does not have with 405, whoever asks."""
    paths = {route.path for route in http_routes()}
    known = {(route.verb, route.path) for route in http_routes()}
    others = [(verb, path) for path in paths for verb in VERBS if (verb, path) not in known]
    answers = {other: (await target.ask(*other)).status for other in others}
    assert answers == dict.fromkeys(others, 405)


def test_control_port(apart: Target, credential: Credential) -> None:
    """The port for model control admits the clients that the table says, to everything."""
    verdicts = {rpc.path: apart.call_verdict(rpc.path, credential, apart.control) for rpc in rpcs()}
    assert verdicts == {rpc.path: expected(rpc.method, credential) for rpc in rpcs()}


async def test_control_only_on_its_port(apart: Target, credential: Credential) -> None:
    """With a port for model control, the public ports refuse it to everyone."""
    calls = {rpc.path: apart.call_verdict(rpc.path, credential) for rpc in rpcs()}
    assert calls == {rpc.path: expected(rpc.method, credential, control=False) for rpc in rpcs()}
    asked = {route: await apart.route_verdict(route, credential) for route in http_routes()}
    assert asked == {
        route: expected(route.method, credential, control=False) for route in http_routes()
    }


TWISTED = ("{}?x", "{}#x", "{}/", "/{}", "{}%20", "{};x", "/x/..{}", "http://host{}")
"""Forms of a path that some servers and proxies take for the path itself."""


@pytest.mark.parametrize("form", TWISTED)
def test_twisted_paths(target: Target, form: str) -> None:
    """No form of an rpc's path admits a stranger whom the path itself does not admit."""
    for rpc in rpcs():
        if NEEDED[rpc.method] != "none":
            code, _ = target.call(form.format(rpc.path), target.metadata("nothing"))
            # INTERNAL is what a client makes of a stream that the transport resets.
            assert code in ("UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL")


async def test_twisted_routes(target: Target) -> None:
    """No form of a route's path admits a stranger whom the path itself does not admit."""
    forms = ("{}?x=1", "{}/", "/{}", "/x/..{}", "/.{}", "{}%00", "{}/.", "{};x", "{}%3Fx", "{}//")
    for route in http_routes():
        if NEEDED[route.method] != "none":
            for path in (*(form.format(route.path) for form in forms), _quoted(route.path)):
                answer = await target.ask(route.verb, path, headers=target.headers("nothing"))
                assert answer.status in (400, 401, 403, 404, 405), (route, path, answer.body)


def _quoted(path: str) -> str:
    """Return a path with every letter as its percent-encoded byte."""
    return "".join(f"%{ord(letter):02x}" if letter.isalnum() else letter for letter in path)


def reflected(address: str) -> set[str]:
    """Return the path of every rpc that the server's reflection tells."""
    with grpc.insecure_channel(address) as channel:
        ask: Any = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        (listed,) = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = [service.name for service in listed.list_services_response.service]
        requests = [
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names
        ]
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for answer in ask(iter(requests))
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]
    return {
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
    }


def test_every_reflected_rpc_is_in_the_table(target: Target) -> None:
    """A server tells of no rpc that the table lacks."""
    assert reflected(target.grpc) == {rpc.path for rpc in rpcs()}
