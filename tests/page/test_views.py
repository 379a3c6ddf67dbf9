"""Live, Compare and Models: what they show is what the server and the artifacts say."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from convoy import Client, ConvoyError
from convoy.__main__ import main
from convoy.artifact.layers import Description, Layer, write_layers
from convoy.service.http.page import WEB
from tests.harness import tiny
from tests.harness.comparisons import fifteen, measured
from tests.harness.images import png
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of
from tools.observation import Load

KIB = 1024


def test_live(open_page: OpenPage, url: str, server: ServerProcess) -> None:
    """
    The figures follow the load, model by model, and a page that is opened later has them too.
    """
    with Load(server.address, threads=2, pause_s=0.01), open_page(f"{url}#live") as page:
        rate = page.locator(".tiles div", has_text="requests/s").locator("dd")
        expect(page.get_by_label("Model", exact=True)).not_to_have_value("")
        expect(rate).not_to_have_text("0")
        before = rate.inner_text()
        expect(rate).not_to_have_text(before)
        expect(page.locator(".panel canvas")).to_have_count(9)
        row = page.locator("tr", has=page.get_by_role("button", name="lenet5", exact=True))
        expect(row).to_contain_text(re.compile(r"lenet5\s*[1-9][\d.,]*\s*[1-9]"))
        for title in ("Requests", "Latency", "Phases, p50", "Phases, p99", "Queue", "Memory"):
            expect(page.locator(".panel h2", has_text=title).first).to_be_visible()
        expect(page.locator(".panel", has_text="Memory").locator(".legend")).to_contain_text(
            "resident"
        )
        expect(page.locator(".panel", has_text="Batch sizes").locator("li").first).to_contain_text(
            "%"
        )
    with open_page(f"{url}#live") as page:
        label = page.locator(".panel", has_text="Requests").locator("[role=img]").first
        expect(label).to_have_attribute("aria-label", re.compile("requests [0-9]"))
        assert page.evaluate("document.querySelectorAll('.panel canvas').length") == 9


def test_quantiles(open_page: OpenPage, url: str) -> None:
    """
    They are those of Prometheus: linear within a bucket, the last bound for what is above all.
    """
    script = "(args) => import('./web/history.js').then(({quantile}) => quantile(...args))"
    counts, bounds = {"0": 10, "2": 30, "3": 60, "4": 100}, [0.1, 0.2, 0.4, 0.8]
    with open_page(url) as page:
        found = [page.evaluate(script, [counts, bounds, share]) for share in (0.05, 0.125, 0.5, 1)]
        assert found == pytest.approx([0.1, 0.2 + 0.2 * 15 / 30, 0.8, 0.8])
        assert page.evaluate(script, [{}, bounds, 0.5]) is None


def test_latency_has_the_wait_in_the_transport(open_page: OpenPage, url: str) -> None:
    """
    The latency is the wait in the gRPC transport and the time of the handler; without calls it is
    unknown, and without calls over gRPC it is the handler's alone.
    """
    script = """(samples) => import('./web/history.js').then(({History}) =>
        Object.assign(new History(), {samples, latencyBuckets: [1, 2, 4]}).latency("m", 1))"""
    busy = {"m": {"duration": {"0": 2}, "requests": {"OK": 2}}}
    samples = [
        {"models": {}, "transport_wait": {}},
        {"models": busy, "transport_wait": {}},
        {"models": busy, "transport_wait": {"1": 3}},
    ]
    with open_page(url) as page:
        assert page.evaluate(script, samples) == [None, 1, 3]


def test_failed_calls_are_in_live(open_page: OpenPage, url: str) -> None:
    """
    Calls that fail have a series for each code, and no latency if none was answered.
    """
    script = """(samples) => import('./web/history.js').then(({History}) => {
        const history = Object.assign(new History(), {samples, intervalS: 2, latencyBuckets: [1]});
        return [history.failed("m"), history.latency("m", 0.5)];
    })"""
    one = {"duration": {"0": 2}, "requests": {"INTERNAL": 4, "INVALID_ARGUMENT": 2}}
    two = {"duration": {"0": 2}, "requests": {"OK": 8, "INTERNAL": 2}}
    samples = [{"models": {"m": calls}, "transport_wait": {}} for calls in (one, two)]
    with open_page(url) as page:
        failed, latency = page.evaluate(script, samples)
    assert failed == [
        {"key": "INTERNAL", "values": [2, 1.5]},
        {"key": "INVALID_ARGUMENT", "values": [1, 0.5]},
    ]
    assert latency == [None, 0.5]


def test_failures_of_all_models(open_page: OpenPage, repository: Path) -> None:
    """
    The table of all models counts what failed in ten minutes by reason, with calls for no model.
    """
    with ServerProcess(repository, "--model-control-mode", "poll") as server:
        with Client(server.address) as client:
            for image, model in [(b"none", "tiny"), (b"none", "tiny"), (png(77), "raw")]:
                with pytest.raises(ConvoyError):
                    client.classify(image, model=model)
            with pytest.raises(ConvoyError):
                client.classify(png(1), model="absent")
        with open_page(f"{url_of(server)}#live") as page:
            table = page.locator("table.all-models")
            heads = table.locator("thead tr").last.locator("th")
            reasons = ["all", "internal", "invalid image", "model not found"]
            expect(heads).to_have_text(
                ["model", "requests/s", "images/s", "failed/s", "p50", "p99", "queue", *reasons]
            )
            rows = table.locator("tbody tr")
            texts = dict(
                zip(rows.locator("th").all_inner_texts(), rows.all_inner_texts(), strict=True)
            )
            assert {name: text.split("\t")[-4:] for name, text in texts.items()} == {
                "lenet5": ["0", "0", "0", "0"],
                "raw": ["1", "1", "0", "0"],
                "tiny": ["2", "0", "2", "0"],
                "(unknown model)": ["1", "0", "0", "1"],
            }


def test_gpus_of_the_server(open_page: OpenPage, url: str) -> None:
    """
    Live has the processors that the server uses, and a figure for each GPU that it reports.
    """

    def with_gpus(route: Route) -> None:
        answer = route.fetch()
        history = answer.json()
        for sample in history["samples"]:
            sample["gpus"] = [0.25, 0.5]
        route.fulfill(response=answer, json=history)

    with open_page(url) as page:
        page.route("**/page/history?*", with_gpus)
        page.get_by_role("link", name="Live").click()
        tiles = page.locator(".tiles div")
        expect(tiles.filter(has_text="processors").locator("dd")).to_have_text(re.compile(r"^\d"))
        expect(tiles.filter(has_text="GPU 0").locator("dd")).to_have_text("25 %")
        expect(tiles.filter(has_text="GPU 1").locator("dd")).to_have_text("50 %")
        page.unroute_all(behavior="ignoreErrors")


def test_models_that_replace_others_in_live(open_page: OpenPage, url: str) -> None:
    """
    The list of models has those of the server, also if others replace as many.
    """
    answers = []
    is_replaced = False

    def renamed(route: Route) -> None:
        answer = route.fetch()
        answers.append(answer.json())
        history = answers[0]
        if is_replaced:  # as to a page that was asleep: its samples are gone on the server
            history = {**history, "first": 1000}
            for sample in history["samples"]:
                models = sample["models"]
                models["new"] = models.pop("lenet5", models.get("new"))
        route.fulfill(response=answer, json=history)

    with open_page(url) as page:
        page.route("**/page/history?*", renamed)
        page.get_by_role("link", name="Live").click()
        options = page.locator("#live-model option")
        expect(options.filter(has_text="lenet5")).to_have_count(1)
        is_replaced = True
        expect(options.filter(has_text="new")).to_have_count(1)
        expect(options.filter(has_text="lenet5")).to_have_count(0)
        page.unroute_all(behavior="ignoreErrors")


def test_live_of_a_new_server(open_page: OpenPage, url: str) -> None:
    """
    After a restart Live has what the new server counts, and nothing that the one before counted.
    """
    samples: list[dict[str, Any]] = []
    is_restarted = False

    def restarted(route: Route) -> None:
        answer = route.fetch()
        history = answer.json()
        samples.extend(history["samples"])
        if is_restarted:
            first = int(route.request.url.rpartition("=")[2])
            new = [] if first == 1 else [samples[0] | {"models": {"new": {"queue_depth": 0}}}]
            first = 1 if first == 1 else 0
            history |= {"instance": "another", "first": first, "samples": new}
        route.fulfill(response=answer, json=history)

    with open_page(url) as page:
        page.route("**/page/history?*", restarted)
        page.get_by_role("link", name="Live").click()
        options = page.locator("#live-model option")
        expect(options.filter(has_text="lenet5")).to_have_count(1)
        is_restarted = True
        expect(options.filter(has_text="new")).to_have_count(1)
        expect(options).to_have_count(1)
        page.unroute_all(behavior="ignoreErrors")


def test_view_that_is_left_while_it_loads(open_page: OpenPage, url: str) -> None:
    """
    A view that is left before its data have come neither changes the address nor keeps on asking.
    """
    held: list[Route] = []
    with open_page(f"{url}#live") as page:
        page.locator(".tiles").wait_for()
        page.route("**/page/models", lambda route: held.append(route))
        for view in ("Compare", "Models", "Live"):
            page.get_by_role("link", name=view).click()
            page.wait_for_timeout(300)
        assert len(held) == 2
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for route in held:
            route.continue_()
        page.wait_for_timeout(6000)  # Models asks every five seconds
        assert page.url == f"{url}#live"
        assert [one for one in asked if one.endswith("page/models")] == []
        page.unroute_all(behavior="ignoreErrors")


def canvases(page: Page) -> int:
    """Count the canvases that the page has not let go."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    prototype = session.send("Runtime.evaluate", {"expression": "HTMLCanvasElement.prototype"})
    of = {"prototypeObjectId": prototype["result"]["objectId"]}
    found = session.send("Runtime.queryObjects", of)["objects"]["objectId"]
    count = {"functionDeclaration": "function() { return this.length; }", "objectId": found}
    length = session.send("Runtime.callFunctionOn", count | {"returnByValue": True})
    return int(length["result"]["value"])


def test_charts_of_live_end_with_it(open_page: OpenPage, url: str) -> None:
    """
    Live, opened again and again, does not gather the charts of the times before.
    """
    with open_page(f"{url}#live") as page:
        for _ in range(3):
            page.locator(".panel canvas").nth(8).wait_for()
            page.get_by_role("link", name="Models").click()
            page.locator(".model").first.wait_for()
            page.get_by_role("link", name="Live").click()
        page.locator(".panel canvas").nth(8).wait_for()
        assert canvases(page) <= 2 * 9


def test_readings_of_live(open_page: OpenPage, url: str) -> None:
    """
    A reading waits for the one before, as both would get the same samples; after one that failed,
    Live says so until the next succeeds.
    """
    held: list[Route] = []
    with open_page(f"{url}#live", may_fail=True) as page:
        page.locator(".tiles").wait_for()
        page.route("**/page/history?*", lambda route: held.append(route))
        page.wait_for_timeout(7000)  # three intervals
        assert len(held) == 1
        held[0].abort()
        problem = page.locator(".problem")
        expect(problem).to_contain_text("The server does not respond")
        page.unroute_all(behavior="ignoreErrors")
        expect(problem).to_have_count(0)


def test_live_without_its_library(open_page: OpenPage, url: str) -> None:
    """
    Without the chart library the page says so and shows the present figures.
    """
    with open_page(url, may_fail=True) as page:
        page.route("**/node_modules/**", lambda route: route.fulfill(status=404))
        page.get_by_role("link", name="Live").click()
        expect(page.locator(".problem")).to_contain_text("make page")
        expect(page.locator(".tiles")).to_contain_text("requests/s")


def test_models(
    open_page: OpenPage, url: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Every version with its state and the reason for it; the layers are those of convoy describe.
    """
    assert main(["describe", str(repository / "lenet5"), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    with open_page(f"{url}#models") as page:
        expect(page.locator(".model")).to_have_count(4)
        broken = page.get_by_role("article", name="broken version 1")
        expect(broken.locator(".badge")).to_have_text("unavailable")
        expect(broken.locator(".reason")).to_contain_text("SHA-256")
        lenet = page.get_by_role("article", name="lenet5 version 1")
        expect(lenet.locator(".badge")).to_have_text("ready")
        for told in ("98.5 %", "float32", "CPU", "0.0617 M"):
            expect(lenet).to_contain_text(told)
        lenet.locator("summary").click()
        expect(lenet.locator("tbody tr")).to_have_count(len(described["layers"]))
        names = lenet.locator("tbody th").all_inner_texts()
        assert names == [layer["name"] for layer in described["layers"]]
        expect(lenet).to_contain_text("(5*5*6 + 1) * 16 = 2,416")
        expect(lenet).to_contain_text("2 convolutions, 3 linear; 5 on the longest path")
        expect(page.get_by_role("article", name="tiny version 1")).to_contain_text(
            "convoy describe tiny --save"
        )


def test_many_models(open_page: OpenPage, tmp_path: Path) -> None:
    """
    The facts of many models are folded away; a filter leaves those with its text.
    """
    for number in range(12):
        tiny.write(tmp_path, f"model{number}")
    with ServerProcess(tmp_path) as server, open_page(f"{url_of(server)}#models") as page:
        cards = page.locator(".model:visible")
        expect(cards).to_have_count(12)
        assert page.evaluate("document.documentElement.scrollHeight") < 12 * 160
        page.get_by_label("Filter").fill("MODEL11")
        expect(cards).to_have_count(1)
        expect(page.get_by_role("status").last).to_have_text("1 of 12 versions")
        cards.locator("summary", has_text="Facts").click()
        expect(cards).to_contain_text("CPU")
        page.get_by_label("Filter").fill("no such model")
        expect(cards).to_have_count(0)


def test_compare_by_what_the_server_knows(open_page: OpenPage, url: str) -> None:
    """
    Without measurements the page compares those of the artifacts and names the command for more.
    """
    with open_page(f"{url}#compare") as page:
        expect(page.locator("tbody tr")).to_have_count(3)
        expect(page.locator("circle.mark")).to_have_count(1)  # LeNet-5 alone tells its accuracy
        expect(page.locator(".sources")).to_contain_text("measured when the artifact was made")
        expect(page.locator(".compare")).to_contain_text("convoy compare --json")


def test_compare(open_page: OpenPage, repository: Path, tmp_path: Path) -> None:
    """
    Measured and published figures are told apart, each has its source, tables sort, charts answer.
    """
    file = tmp_path / "comparison.json"
    file.write_text(fifteen().model_dump_json(), encoding="utf-8")
    options = ("--model-control-mode", "poll", "--comparison-file", str(file))
    with (
        ServerProcess(repository, *options) as server,
        open_page(f"{url_of(server)}#compare") as page,
    ):
        for chart in ("speed", "density", "time", "memory", "balls"):
            page.get_by_label("Chart").select_option(chart)
            mark = page.locator("circle.mark").first
            mark.focus()
            expect(page.locator(".tip")).to_be_visible()
        published = page.locator("td.published").first
        expect(published.locator("sup")).to_have_attribute("data-number", re.compile(r"\d+"))
        expect(page.locator(".sources li").first).to_be_visible()
        heads = page.locator("thead th").all_inner_texts()
        for data in ("digits", "plain digits"):  # each set of images has a column of its own
            assert f"top-1 % measured on {data}, 1,000 images" in heads
        assert "top-1 % of other weights" in heads
        check_axes(page)
        check_footnotes(page)
        check_sorting(page)
        check_families(page, "ResNet")


def test_versions_of_a_model_are_compared(open_page: OpenPage, tmp_path: Path) -> None:
    """
    Two versions of a model have names of their own, and neither has the speed of the other.
    """
    for top1 in (0.5, 0.9):
        tiny.write(tmp_path, evaluations=(measured(top1),))
    with ServerProcess(tmp_path, "--version-policy", "tiny=all") as server:
        with Client(server.address) as client:
            client.classify(png(3), model="tiny", version=2)
        with open_page(f"{url_of(server)}#compare?chart=speed") as page:
            marks = page.locator("circle.mark")
            expect(marks).to_have_count(1)  # version 1 was never run
            expect(marks).to_have_attribute("aria-label", re.compile("^tiny version 2, top-1 90.0"))
            names = page.locator("tbody th")
            expect(names).to_have_text(["tiny version 1", "tiny version 2"])
            expect(page.locator(".sources")).to_contain_text("1 run of this server")


def test_networks_without_times_and_memory(open_page: OpenPage, tmp_path: Path) -> None:
    """
    The table has no columns of batches if nothing was run and no memory is stated.
    """
    tiny.write(tmp_path, memory=None)
    with ServerProcess(tmp_path) as server, open_page(f"{url_of(server)}#compare") as page:
        heads = ["model", "px", "parameters M", "operations M"]
        expect(page.locator("thead th")).to_have_text(heads)


def test_pareto_front(open_page: OpenPage, url: str) -> None:
    """
    A point is on the front if no other is at least as good in both directions and better in one.
    """
    script = """(points) => import('./web/pareto.js').then(({paretoFront}) =>
        paretoFront(points.map(([x, y]) => ({x, y}))).map(({x, y}) => [x, y]))"""
    points = [[1, 9], [2, 9], [3, 5], [3, 4], [4, 5], [5, 1], [0, 8]]
    with open_page(url) as page:
        assert page.evaluate(script, points) == [[5, 1], [4, 5], [2, 9]]


def test_pareto_front_of_what_is_shown(
    open_page: OpenPage, repository: Path, tmp_path: Path
) -> None:
    """
    The front passes through marks that are shown, and the caption names these; it changes with the
    families that are hidden.
    """
    file = tmp_path / "comparison.json"
    file.write_text(fifteen().model_dump_json(), encoding="utf-8")
    options = ("--model-control-mode", "poll", "--comparison-file", str(file))
    with (
        ServerProcess(repository, *options) as server,
        open_page(f"{url_of(server)}#compare?chart=speed") as page,
    ):
        caption = page.locator(".caption")
        expect(caption).to_contain_text("the Pareto front: resnet20, ")
        page.locator(".toggles button", has_text="ResNet").click()
        front = "plain20, bn_nin, googlenet, inception_v4, vgg16_bn"
        expect(caption).to_contain_text(f"front: {front}. No other network that is shown is both")
        line = page.locator("path.line").get_attribute("d") or ""
        centres = page.locator("circle.mark").evaluate_all(
            "(all) => all.map((one) => `${one.getAttribute('cx')},${one.getAttribute('cy')}`)"
        )
        assert set(re.findall(r"[\d.]+,[\d.]+", line)) <= set(centres)
        other = "measured on plain digits, 1,000 images"
        page.get_by_label("Top-1", exact=True).select_option(label=other)
        expect(caption).to_contain_text("the Pareto front: plain20. No other network")
        shown = page.locator(".toggles button[aria-pressed=true]")
        while shown.count():
            shown.first.click()
        expect(page.locator(".scatter")).to_have_text("Nothing to draw.")
        expect(caption).not_to_contain_text("Pareto")


@pytest.mark.parametrize(
    ("address", "told", "shown"),
    [
        ("live?model=none", "have no model named none. The busiest is shown: ", ".tiles"),
        ("compare?chart=toString", "has no chart named toString", "circle.mark"),
        ("compare?accuracy=none", "No model has an accuracy none", "circle.mark"),
        ("models?model=tiny&version=9", "no version 9 of a model named tiny", ".model"),
        ("models?model=<b>", "no model named <b>", ".model"),
        ("constructor", "This page has no view named constructor", ".answer"),
        ("try?sample=none", "There is no sample named none", ".answer"),
    ],
)
def test_unknown_values_of_addresses(
    open_page: OpenPage, url: str, address: str, told: str, shown: str
) -> None:
    """
    A line names what the address has and the page or the server has not; the view is usable.
    """
    with open_page(f"{url}#{address}") as page:
        expect(page.locator(".warning, .summary").filter(has_text=told)).to_be_visible()
        expect(page.locator(shown).first).to_be_visible()


def test_known_values_of_addresses(open_page: OpenPage, url: str) -> None:
    """
    The line is gone once a value that exists is chosen; the address names the model of Live.
    """
    with open_page(f"{url}#live?model=none") as page:
        line = page.locator(".warning")
        expect(line).to_be_visible()
        page.get_by_label("Model", exact=True).select_option("tiny")
        expect(line).to_be_hidden()
        page.get_by_role("link", name="Compare").click()
        page.get_by_label("Chart", exact=True).wait_for()
        expect(line).to_be_hidden()
        page.get_by_role("link", name="Live").click()
        expect(page.get_by_label("Model", exact=True)).to_have_value("tiny")
        assert page.url == f"{url}#live?model=tiny"


def test_skip_link(open_page: OpenPage, url: str) -> None:
    """
    The link leads the keyboard to the content, and the address still names the view.
    """
    with open_page(f"{url}#models") as page:
        page.get_by_role("article", name="tiny version 1").wait_for()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        assert page.url == f"{url}#models"


def test_model_control(open_page: OpenPage, tmp_path: Path) -> None:
    """
    An unload, and a load of one version alone, are offered where the server allows them.
    """
    for _ in range(2):
        tiny.write(tmp_path)
    options = ("--model-control-mode", "explicit", "--load-model", "tiny")
    with ServerProcess(tmp_path, *options) as server, open_page(f"{url_of(server)}#models") as page:
        first, second = (page.get_by_role("article", name=f"tiny version {n}") for n in (1, 2))
        expect(second.locator(".badge")).to_have_text("ready")
        first.get_by_role("button", name="Serve version 1 alone").click()
        expect(first.locator(".badge")).to_have_text("ready")
        expect(second.locator(".badge")).not_to_have_text("ready")
        first.get_by_role("button", name="Unload tiny").click()
        page.get_by_role("dialog").get_by_role("button", name="Unload tiny").click()
        expect(first.locator(".badge")).not_to_have_text("ready")
        second.get_by_role("button", name="Serve version 2 alone").click()
        expect(second.locator(".badge")).to_have_text("ready")


def test_unload_is_confirmed(open_page: OpenPage, axe: str, tmp_path: Path) -> None:
    """
    A dialog asks before a model is unloaded: it works by keyboard, and Escape and Enter cancel it.
    """
    tiny.write(tmp_path)
    options = ("--model-control-mode", "explicit", "--load-model", "tiny")
    with ServerProcess(tmp_path, *options) as server, open_page(f"{url_of(server)}#models") as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        badge = page.locator(".model .badge")
        unload = page.locator(".model > div").get_by_role("button", name="Unload tiny").first
        dialog = page.get_by_role("dialog", name="Unload tiny?")
        unload.focus()
        for key in ("Escape", "Enter"):
            page.keyboard.press("Enter")
            expect(dialog).to_contain_text("Requests for tiny, in any version, are refused")
            expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
            page.evaluate(axe)
            found = page.evaluate("axe.run('dialog[open]')")
            assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
            page.keyboard.press(key)
            expect(dialog).to_have_count(0)
            expect(unload).to_be_focused()
        assert [url for url in sent if url.endswith("/unload")] == []
        page.keyboard.press("Enter")
        page.keyboard.press("Shift+Tab")
        expect(dialog.get_by_role("button", name="Unload tiny")).to_be_focused()
        page.keyboard.press("Enter")
        expect(badge).not_to_have_text("ready")
        expect(dialog).to_have_count(0)
        expect(page.locator(".model")).to_be_focused()


def check_axes(page: Page) -> None:
    """An accuracy has no tick above 100 %, and a batch size has one where it was measured."""

    def ticks(anchor: str) -> list[float]:
        page.locator("circle.mark").first.wait_for()
        texts = page.locator(f".axes text[text-anchor={anchor}]:not(.axis-label)")
        return [float(text.replace(",", "")) for text in texts.all_text_contents()]

    page.get_by_label("Chart", exact=True).select_option(label="Accuracy against operations")
    assert max(ticks("end")) <= 100
    page.get_by_label("Chart", exact=True).select_option(label="Time against batch size")
    marked = set(ticks("middle"))
    words = page.locator("circle.mark").evaluate_all(
        "(marks) => marks.map((mark) => mark.getAttribute('aria-label'))"
    )
    sizes = {float(re.findall(r"batch (\d+):", word)[0]) for word in words}
    assert marked == sizes
    page.get_by_label("Chart", exact=True).select_option(label="Accuracy against operations")


def check_footnotes(page: Page) -> None:
    """The number of a source is seen, and is not part of the text that is copied."""
    cell = page.locator("td:has(sup)").first
    number = cell.locator("sup").get_attribute("data-number")
    assert number
    shown = cell.locator("sup").evaluate("(sup) => getComputedStyle(sup, '::after').content")
    assert shown in (f'"{number}"', "attr(data-number)")
    copied = cell.evaluate(
        "(cell) => { getSelection().selectAllChildren(cell); return getSelection().toString(); }"
    )
    assert copied == cell.evaluate("(cell) => cell.firstChild.textContent")


def check_sorting(page: Page) -> None:
    """Sort by parameters, both ways."""
    head = page.locator("th", has_text="parameters")
    index = page.locator("thead th").all_inner_texts().index(head.inner_text())
    for direction in ("descending", "ascending"):
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", direction)
        texts = page.locator(f"tbody tr > :nth-child({index + 1})").all_inner_texts()
        numbers = [float(text.replace(",", "")) for text in texts]
        assert numbers == sorted(numbers, reverse=direction == "descending")


def check_families(page: Page, name: str) -> None:
    """Hide a family and show it again: its marks go and come back, the others stay."""
    button = page.locator(".toggles button").filter(has_text=re.compile(f"^{name}$"))
    key = button.locator(".key").get_attribute("class") or ""
    marks = page.locator("circle.mark")
    family = page.locator(f"circle.mark.{key.split()[-1]}")
    shown, all_shown = family.count(), marks.count()
    assert 0 < shown < all_shown
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(family).to_have_count(0)
    expect(marks).to_have_count(all_shown - shown)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(family).to_have_count(shown)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", ["try", "images", "live", "compare", "models"])
def test_accessible(
    open_page: OpenPage, url: str, axe: str, tmp_path: Path, view: str, *, dark: bool
) -> None:
    """
    Nothing in any view breaks WCAG's level AA, as far as axe-core can tell.
    """
    with open_page(f"{url}#{view}", dark=dark) as page:
        page.locator("#view > div > :visible").first.wait_for()
        if view == "try":
            page.locator("button.sample").first.click()
            page.locator(".timing").first.wait_for()
        if view == "images":
            classify_samples(page, tmp_path)
        if view == "models":
            page.locator("summary").first.click()
            page.locator("table.layers").wait_for()
        page.evaluate(axe)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = page.evaluate("(tags) => axe.run({runOnly: tags})", tags)
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []


def classify_samples(page: Page, folder: Path) -> None:
    """Classify a labelled folder, some of whose classes are wrong, and show it as a table."""
    for name, truth in {"seven": "7", "three": "3", "eight": "8", "ring": "1"}.items():
        (folder / "data" / truth).mkdir(parents=True, exist_ok=True)
        shutil.copy(WEB / f"samples/{name}.png", folder / "data" / truth)
    page.locator("input[webkitdirectory]").set_input_files(folder / "data")
    page.locator(".cell.wrong").first.wait_for()
    page.get_by_role("button", name="Table").click()


@pytest.mark.parametrize("width", [375, 768, 1440])
def test_layout(open_page: OpenPage, url: str, tmp_path: Path, width: int) -> None:
    """
    No view is wider than the window.
    """
    with open_page(url, width=width) as page:
        for view in ("try", "images", "live", "compare", "models"):
            page.goto(f"{url}#{view}")
            page.locator("#view > div > :visible").first.wait_for()
            if view == "images":
                classify_samples(page, tmp_path)
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_first_view_is_small(open_page: OpenPage, url: str) -> None:
    """
    The first view takes less than 300 KiB.
    """
    with open_page(url) as page:
        page.locator(".answer").first.wait_for()
        page.wait_for_load_state("networkidle")
        sizes = page.evaluate(
            "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
            ".map((entry) => entry.transferSize)"
        )
    assert len(sizes) > 10
    assert 10 * KIB < sum(sizes) < 300 * KIB


def test_operations_that_are_not_counted(open_page: OpenPage, tmp_path: Path) -> None:
    """
    A network with an operator of unknown cost says so, wherever its operations would stand.
    """
    manifest = tiny.write(tmp_path, macs=None, evaluations=(measured(0.9),))
    image = Layer(name="image", kind="input", inputs=(), output_shape=(1, 4, 4))
    product = Layer(name="p", kind="einsum", inputs=(0,), output_shape=(5,), is_counted=False)
    description = Description("tiny version 1", (image, product))
    write_layers(tmp_path / "tiny" / "1", description, manifest.model_sha256)
    with ServerProcess(tmp_path) as server:
        with open_page(f"{url_of(server)}#models") as page:
            model = page.get_by_role("article", name="tiny version 1")
            model.locator("summary").click()
            expect(model).to_contain_text("MACs not counted: einsum")
            expect(model.locator("tbody tr").last).to_contain_text("not counted")
        with open_page(f"{url_of(server)}#compare") as page:
            expect(page.locator("tbody tr")).to_contain_text("not counted")
            expect(page.locator("circle.mark")).to_have_count(0)
