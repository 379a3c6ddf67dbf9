"""Try: every way to give an image, and the answer that is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from convoy.service.http.page import WEB
from tests.harness import averaging, tiny
from tests.harness.images import encode, png
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of

SEVEN = WEB / "samples/seven.png"
NETWORKS = ("lenet5", "raw", "tiny")

GIVE = """([kind, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "given.png", {type: "image/png"}));
    const event = kind === "drop"
        ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
        : new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
    document.querySelector("main").dispatchEvent(event);
}"""


def give(page: Page, kind: str, image: bytes) -> None:
    """Drop or paste an image by the events that a browser sends, once the page listens."""
    expect(page.locator("#view")).not_to_be_empty()
    page.evaluate(GIVE, [kind, b64encode(image).decode()])


def best(page: Page, model: str) -> str:
    """The label that the card of a model has first."""
    card = page.locator(f'.answer[data-model="{model}"]:not([aria-busy]):has(.timing)')
    return card.locator(".bar-name").first.inner_text()


def test_scores_that_are_no_numbers(open_page: OpenPage, url: str) -> None:
    """
    A network whose scores for the image are NaN says so in its card; the others answer.
    """
    with open_page(url) as page:
        give(page, "drop", png(77))
        problem = page.locator('.answer[data-model="raw"] .problem')
        expect(problem).to_contain_text("returned no valid scores for this image")
        expect(problem).to_contain_text("NaN")
        assert best(page, "tiny") == "class 2"


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_given_image_is_classified_by_all(open_page: OpenPage, url: str, kind: str) -> None:
    """
    A dropped or pasted image is answered by every network that is loaded, side by side.
    """
    with open_page(url) as page:
        expect(page.locator(".answer")).to_have_count(len(NETWORKS))
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        give(page, kind, png(3))
        expect(page.locator(".answer .timing")).to_have_count(len(NETWORKS))
        assert sent.count("POST") == 1, "uploaded once for all networks"
        assert best(page, "tiny") == "class 3"
        assert best(page, "raw") == "class 3"
        expect(page.locator(".snippets")).to_contain_text("given.png")


def test_content_of_an_answer(open_page: OpenPage, url: str, repository: Path) -> None:
    """
    Five classes, what the network saw, where the time went, and what answered.
    """
    manifest = json.loads((repository / "lenet5/1/manifest.json").read_text(encoding="utf-8"))
    with open_page(url) as page:
        page.get_by_label("Network").select_option(label="lenet5")
        page.set_input_files("input[type=file] >> nth=0", SEVEN)
        card = page.locator(".answer")
        expect(card.locator(".bars li")).to_have_count(5)
        expect(card.locator(".bar-text").first).to_have_text(re.compile(r"9\d\.\d %"))
        expect(card.locator("canvas.seen")).to_have_js_property("width", 32)
        for told in ("input: 32", "decode", "queue", "inference", "respond", "CPU"):
            expect(card).to_contain_text(told)
        expect(card.locator(".hash code")).to_have_attribute("title", manifest["model_sha256"])
        seen = page.evaluate(
            "() => [...document.querySelector('canvas.seen').getContext('2d')"
            ".getImageData(0, 0, 32, 32).data].filter((v, i) => i % 4 === 0 && v > 128).length"
        )
        assert 20 < seen < 200
        card.get_by_role("button", name="Copy").click()
        assert page.evaluate("navigator.clipboard.readText()") == manifest["model_sha256"]


def test_multi_label(open_page: OpenPage, tmp_path: Path) -> None:
    """
    Independent probabilities are shown as they are, with a line that says so.
    """
    tiny.write_multi_label(tmp_path, "tags")
    with ServerProcess(tmp_path) as server, open_page(url_of(server)) as page:
        give(page, "drop", png(3))
        card = page.locator(".answer")
        expect(card.locator(".bar-text")).to_have_text(["100.0 %", *["50.0 %"] * 4])
        expect(card).to_contain_text("Several labels may apply")
        page.goto(f"{url_of(server)}#models")
        expect(page.locator(".model")).to_contain_text("any number of classes (multi-label)")


def test_photograph(open_page: OpenPage, url: str) -> None:
    """
    A phone offers its camera.
    """
    with open_page(url, width=375) as page:
        camera = page.locator("input[capture=environment]")
        assert camera.get_attribute("accept") == "image/*"
        camera.set_input_files(SEVEN)
        expect(page.locator(".answer .timing")).to_have_count(len(NETWORKS))


def draw(page: Page, *points: tuple[float, float]) -> None:
    """Draw a line on the pad; points are shares of its side."""
    drag(page, "canvas.pad", *points)


def drag(page: Page, canvas: str, *points: tuple[float, float]) -> None:
    """Drag the pointer over a canvas; points are shares of its width and height."""
    box = page.locator(canvas).bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def test_drawn_seven(open_page: OpenPage, url: str) -> None:
    """
    A 7 that is drawn by the pointer, small and in a corner, is read as 7; what is cleared is gone.
    """
    with open_page(url) as page:
        draw(page, (0.08, 0.1), (0.45, 0.1), (0.22, 0.6))
        expect(page.locator('.answer[data-model="lenet5"] .timing')).to_be_visible()
        assert best(page, "lenet5") == "7"
        page.get_by_role("button", name="Clear").click()
        draw(page, (0.5, 0.15), (0.5, 0.85))
        expect(page.locator('.answer[data-model="lenet5"] .bar-name').first).to_have_text("1")


def test_drawing_is_saved(open_page: OpenPage, url: str) -> None:
    """
    A drawing is saved as the file that was sent, under the name that the snippets have.
    """
    with open_page(url) as page:
        page.locator(".answer").first.wait_for()
        save = page.get_by_role("button", name="Save the image")
        expect(save).to_be_hidden()
        draw(page, (0.2, 0.1), (0.7, 0.1), (0.4, 0.8))
        expect(page.locator(".summary")).to_contain_text("7: ")
        with page.expect_download() as download:
            save.click()
        assert download.value.suggested_filename == "drawing.png"
        saved = Path(download.value.path()).read_bytes()
        give(page, "drop", saved)
        expect(page.locator(".snippets code").first).to_contain_text("given.png")
        assert best(page, "lenet5") == "7"


def test_only_the_first_button_draws(open_page: OpenPage, url: str) -> None:
    """
    The right button opens the browser's menu: it does not draw.
    """
    picture = "document.querySelector('canvas.pad').toDataURL()"
    with open_page(url) as page:
        page.locator(".answer").first.wait_for()
        draw(page, (0.5, 0.15), (0.5, 0.85))
        before = page.evaluate(picture)
        box = page.locator("canvas.pad").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 10, box["y"] + 10)
        page.mouse.down(button="right")
        page.mouse.move(box["x"] + 50, box["y"] + 60, steps=8)
        page.mouse.up(button="right")
        assert page.evaluate(picture) == before


def test_undo(open_page: OpenPage, url: str) -> None:
    """
    Undo takes back the last stroke, and then the picture is classified without it.
    """
    with open_page(url) as page:
        page.locator(".answer").first.wait_for()
        draw(page, (0.5, 0.15), (0.5, 0.85))
        expect(page.locator(".summary")).to_contain_text("1: ")
        draw(page, (0.1, 0.15), (0.5, 0.15))
        draw(page, (0.1, 0.5), (0.9, 0.5))
        page.get_by_role("button", name="Undo").click()
        page.locator("canvas.pad").press("Control+z")
        expect(page.locator('.answer[data-model="lenet5"] .bar-name').first).to_have_text("1")
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name="Undo").click()
        expect(page.locator('.answer[data-model="lenet5"] .bar-name').first).to_have_text("1")


def test_overview(open_page: OpenPage, url: str) -> None:
    """
    Above the details, a line for each network says what it sees, how sure it is and how long it
    took; one that differs from most is marked, and leads to its details.
    """
    with open_page(f"{url}#try?sample=seven") as page:
        rows = page.locator(".overview tbody tr")
        expect(rows).to_have_count(len(NETWORKS))
        lenet = rows.filter(has_text="lenet5")
        expect(lenet).to_contain_text(re.compile(r"7\s*9\d\.\d %\s*[\d.]+ (ms|µs)"))
        expect(lenet).to_contain_text("differs from most")
        expect(rows.filter(has_text="tiny")).not_to_contain_text("differs")
        lenet.get_by_role("button").click()
        expect(page.locator('.answer[data-model="lenet5"]')).to_be_focused()


def test_permalinks(open_page: OpenPage, url: str) -> None:
    """
    The address names the network and the sample, the chart, and the model; opened again, it shows
    the same.
    """
    with open_page(url) as page:
        page.get_by_label("Network", exact=True).select_option(label="lenet5")
        page.get_by_role("button", name="seven").click()
        expect(page.locator(".answer .timing")).to_be_visible()
        address = page.url
        page.get_by_role("link", name="Compare").click()
        page.get_by_label("Chart", exact=True).select_option("time")
        chart = page.url
        page.get_by_role("link", name="Models").click()
        page.get_by_role("article", name="tiny version 1").get_by_role("link").click()
        expect(page.get_by_role("article", name="tiny version 1")).to_be_focused()
        model = page.url
    with open_page(address) as page:
        expect(page.locator(".answer")).to_have_count(1)
        expect(page.locator(".summary")).to_contain_text("lenet5: 7, ")
    with open_page(chart) as page:
        expect(page.get_by_label("Chart", exact=True)).to_have_value("time")
    with open_page(model) as page:
        expect(page.get_by_role("article", name="tiny version 1")).to_be_focused()


def test_link_to_a_network_that_is_not_loaded(open_page: OpenPage, url: str) -> None:
    """
    The list says that the network of the address is not loaded, and that all others answer.
    """
    with open_page(f"{url}#try?network=none&sample=seven") as page:
        expect(page.locator(".answer")).to_have_count(len(NETWORKS))
        network = page.get_by_label("Network", exact=True)
        expect(network.locator("option:checked")).to_have_text("none is not loaded: all networks")
        network.select_option(label="lenet5")
        expect(page.locator(".summary")).to_contain_text("lenet5: 7, ")


def test_file_named_like_a_sample(open_page: OpenPage, url: str, tmp_path: Path) -> None:
    """
    The address does not take a file for the sample of its name, nor does going back.
    """
    file = tmp_path / "eight.png"
    shutil.copy(SEVEN, file)
    with open_page(f"{url}#try?network=lenet5") as page:
        page.locator("input[type=file]").first.set_input_files(file)
        expect(page.locator(".summary")).to_contain_text("lenet5: 7, ")
        assert "sample" not in page.url
        page.get_by_role("link", name="Compare").click()
        expect(page.get_by_label("Chart", exact=True)).to_be_visible()
        page.go_back()
        expect(page.locator(".summary")).to_contain_text("lenet5: 7, ")


def test_keyboard_alone(open_page: OpenPage, url: str) -> None:
    """
    Without a pointer a sample is chosen, and a 7 is drawn and read.
    """
    with open_page(url) as page:
        expect(page.locator(".answer")).to_have_count(len(NETWORKS))
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.matches('.sample')"):
                break
        page.keyboard.press("Enter")
        expect(page.locator('.answer[data-model="lenet5"] .timing')).to_be_visible()
        assert best(page, "lenet5") == "7"
        page.locator("canvas.pad").focus()
        strokes = ["ArrowLeft"] * 6 + ["ArrowUp"] * 8 + [" "] + ["ArrowRight"] * 12
        for key in strokes + ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft"] * 5:
            page.keyboard.press(key)
        expect(page.locator(".snippets")).to_contain_text("drawing.png")
        expect(page.locator('.answer[data-model="lenet5"] .bar-name').first).to_have_text("7")


@pytest.mark.parametrize("width", [375, 768, 1440])
def test_nothing_moves_while_somebody_draws(open_page: OpenPage, url: str, width: int) -> None:
    """
    After each stroke the pad is where it was, and the answer is told beside it.
    """
    with open_page(url, width=width) as page:
        page.locator(".answer").first.wait_for()
        pad = page.locator("canvas.pad")
        pad.scroll_into_view_if_needed()
        before = pad.bounding_box()
        draw(page, (0.2, 0.1), (0.7, 0.1), (0.4, 0.8))
        expect(page.locator(".summary")).to_contain_text("7: ")
        assert pad.bounding_box() == before
        page.get_by_label("Network", exact=True).select_option(label="lenet5")
        expect(page.locator(".summary")).to_have_text(re.compile(r"lenet5: 7, \d+\.\d %"))
        assert pad.bounding_box() == before


def test_first_answer_is_seen_on_a_phone(open_page: OpenPage, url: str) -> None:
    """
    A page with the answers below the image scrolls to them after a sample is chosen.
    """
    with open_page(url, width=375) as page:
        page.locator("button.sample").first.click()
        expect(page.locator(".answer").first).to_be_in_viewport()


def test_last_answer_is_not_shown_with_a_new_image(open_page: OpenPage, url: str) -> None:
    """
    While a new image is classified, the answer to the one before is not seen.
    """
    with open_page(url) as page:
        give(page, "drop", png(3))
        expect(page.locator(".answer .timing")).to_have_count(len(NETWORKS))
        page.route("**/answers?*", lambda route: None)  # never answered
        give(page, "drop", png(2))
        expect(page.locator(".answer[aria-busy]")).to_have_count(len(NETWORKS))
        expect(page.locator(".answer .bars").first).to_be_hidden()
        expect(page.locator(".summary")).to_have_text("")
        page.unroute_all(behavior="ignoreErrors")


def test_why(open_page: OpenPage, url: str) -> None:
    """
    On request a network shows the parts that its answer depends on, for each of its best classes,
    and what that cost.
    """
    colour = """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data]"""
    with open_page(url) as page:
        give(page, "drop", png(77))
        card = page.locator('.answer[data-model="tiny"]')
        card.get_by_role("button", name="Why?").click()
        expect(card.locator(".why")).to_contain_text("Cost: 17 images, ")
        expect(card.locator(".why")).to_contain_text("a change of 100.0 %")
        heat = card.locator("canvas.heat")
        red, _, blue, _ = heat.evaluate(colour, [0, 0])
        assert red > 2 * blue, "the network looks at the first pixel alone"
        assert heat.evaluate(colour, [2, 2]) == [0, 0, 0, 255]
        card.get_by_label("Class", exact=True).select_option(label="class 4")
        red, _, blue, _ = heat.evaluate(colour, [0, 0])
        assert blue > 2 * red, "with the mean colour there, it would say class 4"


def test_class_activation_map(open_page: OpenPage, tmp_path: Path) -> None:
    """
    A network that averages its last maps shows the map of a class, which adds up to its score; the
    parts can still be hidden instead. Another network says why it has no such map.
    """
    averaging.write(tmp_path)
    tiny.write(tmp_path)
    image = averaging.images(1)[0, :, :, 0]
    image[0, 0] = 7  # brighter ones the other network refuses
    with ServerProcess(tmp_path) as server, open_page(url_of(server)) as page:
        give(page, "drop", encode(Image.fromarray(image)))
        why = page.locator('.answer[data-model="averaging"] .why')
        why.get_by_role("button", name="Why?").click()
        expect(why).to_contain_text("Red: this part raises the score")
        expect(why).to_contain_text("Cost: 2 images and opening the network once more, ")
        text = why.inner_text()
        mean, bias, score = map(float, re.findall(r"(?:map|bias|score), (-?\d+(?:\.\d+)?)", text))
        logits = averaging.logits(averaging.graph(averaging.FORMS["gemm"]), image[None, :, :, None])
        assert score == pytest.approx(float(logits.max()), rel=1e-2)
        assert mean + bias == pytest.approx(score, abs=2e-2)
        expect(why.locator("canvas.heat")).to_have_attribute("aria-label", re.compile("class"))
        before = why.locator("canvas.heat").evaluate("canvas => canvas.toDataURL()")
        why.get_by_label("Class", exact=True).select_option(index=4)
        assert why.locator("canvas.heat").evaluate("canvas => canvas.toDataURL()") != before
        why.get_by_role("button", name="Hide parts instead").click()
        expect(why).to_contain_text("Cost: 17 images, ")
        expect(why.get_by_role("button", name="Show the class activation map")).to_be_visible()
        other = page.locator('.answer[data-model="tiny"] .why')
        other.get_by_role("button", name="Why?").click()
        expect(other).to_contain_text("This network has no class activation maps: ")


def test_map_is_stretched_to_the_image(open_page: OpenPage, url: str) -> None:
    """
    The values of a map stand at the centres of its places, and change evenly between them.
    """
    script = "(args) => import('./web/heat.js').then(({stretched}) => [...stretched(...args)])"
    with open_page(url) as page:
        assert page.evaluate(script, [[[1, 3]], 4, 1]) == [1, 1.5, 2.5, 3]
        assert page.evaluate(script, [[[1], [3]], 1, 4]) == [1, 1.5, 2.5, 3]
        assert page.evaluate(script, [[[5]], 2, 2]) == [5, 5, 5, 5]


def test_pen_of_the_keyboard_is_seen(open_page: OpenPage, url: str) -> None:
    """
    The pen is where the arrow keys have moved it, and filled while it is down.
    """
    with open_page(url) as page:
        pad, pen = page.locator("canvas.pad"), page.locator(".pen")
        expect(pad).to_be_visible()
        expect(pen).to_be_hidden()
        page.get_by_role("button", name="Webcam").focus()
        page.keyboard.press("Tab")
        expect(pen).to_be_visible()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press(" ")
        expect(pen).to_have_attribute("data-down", "")
        around, mark = pad.bounding_box(), pen.bounding_box()
        assert around is not None
        assert mark is not None
        share = (mark["x"] + mark["width"] / 2 - around["x"]) / around["width"]
        assert share == pytest.approx(0.5 - 10 / 280, abs=0.01)


def test_snippets_run(open_page: OpenPage, url: str, server: ServerProcess, tmp_path: Path) -> None:
    """
    The snippets run as they are: in a shell, and in Python.
    """
    shutil.copy(SEVEN, tmp_path / "seven.png")
    with open_page(url) as page:
        page.get_by_label("Network").select_option(label="lenet5")
        page.locator("button.sample").first.click()
        expect(page.locator(".snippets")).to_contain_text("seven.png")
        texts = {}
        for name in ("curl", "Python", "JavaScript", "grpcurl"):
            page.locator(".segments").get_by_role("button", name=name, exact=True).click()
            page.locator(".snippets").get_by_role("button", name=re.compile("Copy|Copied")).click()
            texts[name] = page.evaluate("navigator.clipboard.readText()")
        page.locator(".snippets summary").click()
        raw = json.loads(page.get_by_label("Answer", exact=True).inner_text())
    told = json.loads(run(["bash", "-c", texts["curl"]], tmp_path))
    assert told["predictions"][0]["label"] == "7"
    assert told["timing"]["batch_size"] == 1
    assert raw.keys() == told.keys()
    assert raw["predictions"] == told["predictions"]
    script = tmp_path / "call.mjs"
    script.write_text(texts["JavaScript"], encoding="utf-8")
    assert "label: '7'" in run(["node", str(script)], tmp_path)
    assert run([sys.executable, "-c", texts["Python"]], tmp_path).startswith("7 0.9")
    assert f"{server.address} convoy.v1.ClassifierService/Classify" in texts["grpcurl"]
    body = texts["grpcurl"].partition("|")[0]
    assert (
        json.loads(run(["bash", "-c", body], tmp_path))["image"]
        == b64encode(SEVEN.read_bytes()).decode()
    )


def run(command: list[str], folder: Path, **variables: str) -> str:
    """Output of a command."""
    environment = {**os.environ, **variables}  # noqa: TID251 - as a shell would have it
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
