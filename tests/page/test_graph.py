"""The graph of the layers: what it draws is what the artifact says, by mouse and by keyboard."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from convoy.artifact.layers import Description, Layer, Window, write_layers
from tests.harness import tiny
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of

SIDE = 8
TIMES = "\N{MULTIPLICATION SIGN}"


def convolution(
    name: str, before: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> Layer:
    """A convolution of 16 channels to 16."""
    shape = (16, SIDE, SIDE)
    parameters = kernel * kernel * 16 * 16 // groups
    return Layer(
        name=name,
        kind="conv",
        inputs=(before,),
        output_shape=shape,
        window=Window((kernel, kernel), (stride, stride), (kernel // 2, kernel // 2)),
        parameters=parameters,
        arithmetic=f"{kernel}*{kernel}*16*16 / {groups}",
        macs=math.prod(shape) * parameters // 16,
        then=("bn", "relu"),
        receptive_field_px=(kernel, kernel),
    )


KINDS = Description(
    "kinds",
    (
        Layer(name="image", kind="input", inputs=(), output_shape=(16, SIDE, SIDE)),
        convolution("plain", 0),
        convolution("pointwise", 1, kernel=1),
        convolution("depthwise", 1, groups=16),
        convolution("grouped", 1, groups=4),
        convolution("strided", 1, stride=2),
        Layer(name="join", kind="concat", inputs=(2, 3, 4, 5), output_shape=(64, SIDE, SIDE)),
        Layer(name="average", kind="global avg pool", inputs=(6,), output_shape=(64, 1, 1)),
        Layer(
            name="classifier",
            kind="linear",
            inputs=(7,),
            output_shape=(5,),
            parameters=325,
            arithmetic="64*5 + 5",
            macs=320,
        ),
    ),
)


def large(blocks: int) -> Description:
    """A network of so many blocks with three branches, of 1, 2 and 3 convolutions, and a join."""
    layers = [Layer(name="image", kind="input", inputs=(), output_shape=(16, SIDE, SIDE))]
    for block in range(blocks):
        start, ends = len(layers) - 1, []
        for branch in (1, 2, 3):
            for step in range(branch):
                before = len(layers) - 1 if step else start
                layers.append(convolution(f"{block}.{branch}.{step}", before))
            ends.append(len(layers) - 1)
        layers.append(
            Layer(
                name=f"{block}.add",
                kind="add",
                inputs=tuple(ends),
                output_shape=(16, SIDE, SIDE),
            )
        )
    return Description("large", tuple(layers))


LARGE = large(71)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a server with both networks."""
    root = tmp_path_factory.mktemp("graphs")
    for description in (KINDS, LARGE):
        manifest = tiny.write(root, description.name)
        write_layers(root / description.name / "1", description, manifest.model_sha256)
    with ServerProcess(root) as server:
        yield url_of(server)


@contextmanager
def shown(
    open_page: OpenPage, address: str, name: str, *, dark: bool = False, width: int = 1440
) -> Iterator[Page]:
    """A page with the graph of a network."""
    with open_page(f"{address}#models", dark=dark, width=width) as page:
        card = page.get_by_role("article", name=f"{name} version 1")
        card.locator("summary").click()
        card.get_by_role("button", name="Show the graph").click()
        expect(page.locator(".graph-window svg")).to_be_visible(timeout=60_000)
        yield page


def test_every_layer_is_drawn(open_page: OpenPage, address: str) -> None:
    """
    Each layer has a box with its operation, its output and its parameters, each input has a line.
    """
    with shown(open_page, address, "kinds") as page:
        marks = page.locator(".graph-window .layer")
        words = [mark.get_attribute("aria-label") or "" for mark in marks.all()]
        assert words[1] == (
            f"plain: 3{TIMES}3 conv, then bn, relu, output 16 {TIMES} 8 {TIMES} 8, 2.3K parameters"
        )
        assert words[3].startswith(f"depthwise: depthwise 3{TIMES}3, then bn, relu")
        assert words[4].startswith(f"grouped: 3{TIMES}3 conv, 4 groups, then")
        assert words[5].startswith(f"strided: 3{TIMES}3 conv, stride 2, then")
        assert words[8] == "classifier: linear, output 5, 325 parameters"
        assert len(words) == len(KINDS.layers)
        lines = sum(len(layer.inputs) for layer in KINDS.layers)
        expect(page.locator(".edges path")).to_have_count(lines)
        expect(marks.nth(1)).to_contain_text(f"16 {TIMES} 8 {TIMES} 8 · 2.3K")


def test_kinds_of_convolutions_look_different(open_page: OpenPage, address: str) -> None:
    """
    Plain, 1x1, depthwise, grouped and strided convolutions differ without their colours.
    """
    look = """(mark) => {
        const outline = mark.querySelector(".outline");
        const {strokeDasharray} = getComputedStyle(outline);
        const form = outline.getAttribute("d") ?? outline.getAttribute("rx");
        return [form, strokeDasharray, mark.querySelector(".glyph").innerHTML].join();
    }"""
    with shown(open_page, address, "kinds") as page:
        marks = page.locator(".graph-window .layer")
        assert len({marks.nth(index).evaluate(look) for index in range(1, 9)}) == 8
        legend = page.get_by_role("list", name="Forms of layers")
        for told in (
            f"1{TIMES}1 convolution",
            "depthwise",
            "grouped",
            "stride: the output is smaller",
        ):
            expect(legend).to_contain_text(told)


def test_facts_of_a_layer(open_page: OpenPage, address: str) -> None:
    """
    A click on a layer shows all that is known of it.
    """
    with shown(open_page, address, "kinds") as page:
        page.locator(".graph-window .layer").nth(4).click()
        facts = page.locator(".layer-facts")
        for told in (f"3{TIMES}3 s1 p1", "3*3*16*16 / 4 = 576", "36,864", "read by", "join"):
            expect(facts).to_contain_text(told)


def test_keyboard(open_page: OpenPage, address: str) -> None:
    """
    Arrow keys follow the data and the row; + and - zoom, and 0 shows the whole graph.
    """
    with shown(open_page, address, "kinds") as page:
        page.get_by_role("button", name="Full size").focus()
        page.keyboard.press("Tab")
        chosen = page.locator(".layer-facts dd").first
        for key, name in (
            ("ArrowDown", "plain"),
            ("ArrowDown", "pointwise"),
            ("ArrowDown", "join"),
            ("End", "classifier"),
            ("ArrowUp", "average"),
            ("Home", "image"),
        ):
            page.keyboard.press(key)
            expect(chosen).to_have_text(name)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        row = {"pointwise", "depthwise", "grouped", "strided"}
        for key in ("ArrowLeft", "ArrowRight"):
            for _ in range(4):
                page.keyboard.press(key)
                row.discard(chosen.inner_text())
        assert row == set()
        drawing = page.locator(".graph-window svg")
        before = float(drawing.get_attribute("width") or 0)
        page.keyboard.press("+")
        assert float(drawing.get_attribute("width") or 0) == pytest.approx(1.25 * before)
        page.keyboard.press("0")
        around = page.locator(".graph-window").bounding_box()
        assert around is not None
        assert float(drawing.get_attribute("height") or 0) <= around["height"]


def test_zoom_with_the_mouse(open_page: OpenPage, address: str) -> None:
    """
    Ctrl with the wheel zooms around the pointer; a drag moves the drawing.
    """
    with shown(open_page, address, "large") as page:
        window, drawing = page.locator(".graph-window"), page.locator(".graph-window svg")
        window.scroll_into_view_if_needed()
        around = window.bounding_box()
        assert around is not None
        x, y = around["x"] + around["width"] / 2, around["y"] + around["height"] / 2
        before = float(drawing.get_attribute("width") or 0)
        page.mouse.move(x, y)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -300)
        page.keyboard.up("Control")
        page.wait_for_function(
            "(before) => document.querySelector('.graph-window svg').width.baseVal.value > before",
            arg=before,
        )
        top = window.evaluate("(window) => window.scrollTop")
        page.mouse.down()
        page.mouse.move(x, y - 100, steps=3)
        page.mouse.up()
        assert window.evaluate("(window) => window.scrollTop") == pytest.approx(top + 100, abs=2)


def test_large_network(open_page: OpenPage, address: str) -> None:
    """
    Five hundred layers are laid out beside the page's own thread, no two of them on one another.
    """
    assert len(LARGE.layers) == 498
    with open_page(f"{address}#models") as page:
        card = page.get_by_role("article", name="large version 1")
        card.locator("summary").click()
        with page.expect_worker() as worker:
            card.get_by_role("button", name="Show the graph").click()
        assert worker.value.url.endswith("web/graph/layout-worker.js")
        marks = card.locator(".graph-window .layer")
        expect(marks).to_have_count(len(LARGE.layers), timeout=60_000)
        places = marks.evaluate_all("(all) => all.map((one) => one.getAttribute('transform'))")
        assert len(set(places)) == len(places)


def test_on_a_phone(open_page: OpenPage, address: str) -> None:
    """
    On a narrow page a wide graph starts at its first layer, large enough to be read.
    """
    with shown(open_page, address, "kinds", width=375) as page:
        expect(page.locator(".graph .controls [role=status]")).to_have_text("60 %")
        window, first = (
            page.locator(part).first.bounding_box()
            for part in (".graph-window", ".graph-window .layer")
        )
        assert window is not None
        assert first is not None
        assert window["x"] <= first["x"]
        assert first["x"] + first["width"] <= window["x"] + window["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_without_its_library(open_page: OpenPage, address: str) -> None:
    """
    Without the library that lays it out, the page says so, and the table stays.
    """
    with open_page(f"{address}#models", may_fail=True) as page:
        page.context.route("**/node_modules/**", lambda route: route.fulfill(status=404))
        card = page.get_by_role("article", name="kinds version 1")
        card.locator("summary").click()
        card.get_by_role("button", name="Show the graph").click()
        expect(card.locator(".problem")).to_contain_text("make page")
        expect(card.locator("tbody tr")).to_have_count(len(KINDS.layers))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_accessible(open_page: OpenPage, address: str, axe: str, *, dark: bool) -> None:
    """
    The graph breaks no rule of WCAG's level AA that axe-core knows, and keeps to forced colours.
    """
    with shown(open_page, address, "kinds", dark=dark) as page:
        page.evaluate(axe)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = page.evaluate("(tags) => axe.run({runOnly: tags})", tags)
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        page.emulate_media(forced_colors="active")
        colours = page.locator(".graph-window .layer").evaluate_all(
            """(marks) => marks.map((mark) => ["outline", "glyph"].map((part) => {
                const {stroke, fill} = getComputedStyle(mark.querySelector("." + part));
                return part === "outline" ? stroke : fill;
            }).join()) """
        )
        assert len(set(colours)) == 1
