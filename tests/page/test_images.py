"""Images: many at once, their answers as gallery, table, files and accuracy."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from convoy.__main__ import main
from convoy.artifact.image_formats import SUFFIXES
from convoy.commands.evaluate import scoring
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of
from tests.unit.commands.evaluate.test_scoring import outcomes_of_two

IMAGES = 150

DROP = """(names) => {
    const data = new DataTransfer();
    for (const [name, base64] of Object.entries(names)) {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], name, {type: "image/png"}));
    }
    const options = {dataTransfer: data, bubbles: true, cancelable: true};
    document.querySelector("main").dispatchEvent(new DragEvent("drop", options));
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A folder for each class of the tiny network, with images whose first pixel is in their names.

    Every eleventh is in the folder of another class; one is no image, and two files are none.
    """
    root = tmp_path_factory.mktemp("data") / "digits"
    for first in range(IMAGES):
        of_class = (tiny.answer(first) + (first % 11 == 0)) % tiny.CLASSES
        place = root / f"class {of_class}" / f"{first:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(first))
    (root / "class 0/broken.png").write_bytes(b"no image")
    (root / "class 0/notes.txt").write_text("no image", encoding="utf-8")
    (root / "class 1/.hidden.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network, and one that gives some images other classes with other confidences."""
    root = tmp_path_factory.mktemp("pair")
    tiny.write(root)
    scores = {
        first: [float((first * 7 + index * 5) % 9) / 3 for index in range(tiny.CLASSES)]
        for first in range(4, IMAGES, 4)  # the first four are the golden images
    }
    tiny.write(root, "other", model=tiny.graph(scores=scores))
    return root


def choose(page: Page, folder: Path, network: str = "tiny") -> None:
    """Choose a folder, and wait until all its images are classified."""
    page.get_by_label("Network", exact=True).select_option(label=network)
    page.locator("input[webkitdirectory]").set_input_files(folder)
    wait(page)


def wait(page: Page) -> None:
    """Wait for the end of a run."""
    told = page.locator(".progress p")
    expect(told).to_contain_text(f"{IMAGES + 1} of {IMAGES + 1} images", timeout=60_000)
    expect(page.locator(".progress button").first).to_be_hidden()


def test_folder(open_page: OpenPage, url: str, folder: Path) -> None:
    """
    A folder is classified by a few requests at a time, and only what is in view is in the document.
    """
    flying, most = set[Request](), 0

    def begin(request: Request) -> None:
        nonlocal most
        if "page/answers" in request.url:
            flying.add(request)
            most = max(most, len(flying))

    with open_page(f"{url}#images", may_fail=True) as page:
        page.on("request", begin)
        for end in ("requestfinished", "requestfailed"):
            page.on(end, lambda request: flying.discard(request))
        choose(page, folder)
        assert 1 < most <= 5
        expect(page.locator(".progress p")).to_contain_text("1 failed · 1 other file left out")
        assert page.locator(".tile").count() < 100
        tile = page.locator(".tile", has_text="class 2").first
        expect(tile).to_contain_text("100.0 % · right")
        is_drawn = """(canvas) => canvas.getContext("2d").getImageData(0, 0, 96, 96).data
            .some((value) => value)"""
        assert tile.locator("canvas").evaluate(is_drawn)
        page.locator(".viewport").evaluate("(view) => view.scrollTo(0, view.scrollHeight)")
        last = page.locator(".gallery li").last
        expect(last).to_have_attribute("aria-posinset", str(IMAGES + 1))
        assert page.locator(".tile").count() < 100
        last.locator("button").click()  # its details are in Try
        expect(page.locator('.answer[data-model="tiny"] .timing')).to_be_visible()
        page.go_back()
        expect(page.locator(".progress p")).to_contain_text("images classified")
        expect(page.locator(".tile").first).to_be_visible()


def test_filters_and_orders(open_page: OpenPage, url: str, folder: Path) -> None:
    """
    Filters leave the images that they name, and orders sort them; together, and in a table.
    """
    with open_page(f"{url}#images", may_fail=True) as page:
        choose(page, folder, "lenet5")
        page.get_by_role("button", name="Table").click()
        count = page.locator(".controls [role=status]")
        expect(count).to_have_text(f"{IMAGES + 1} images")

        def column(number: int) -> list[str]:
            page.wait_for_timeout(100)  # the list is drawn with the next frame
            return page.locator(f"table.rows tbody tr > :nth-child({number})").all_inner_texts()

        page.get_by_label("Sort by").select_option("least")
        rising = [float(text.rstrip(" %")) for text in column(4) if text]
        assert rising == sorted(rising)
        page.get_by_label("Sort by").select_option("most")
        falling = [float(text.rstrip(" %")) for text in column(4) if text]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > rising[0]
        bound = (falling[0] + rising[0]) / 2
        page.get_by_label("Confidence from").fill(str(bound))
        page.get_by_label("Confidence from").press("Enter")
        expect(count).to_contain_text(f"of {IMAGES + 1} images")
        assert min(float(text.rstrip(" %")) for text in column(4) if text) >= bound
        page.get_by_role("button", name="Show all").click()
        label = column(3)[0]
        page.get_by_label("Prediction").select_option(label)
        assert set(filter(None, column(3))) == {label}
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("Show", exact=True).select_option("failed")
        expect(count).to_have_text(f"1 of {IMAGES + 1} images")
        expect(page.locator("table.rows")).to_contain_text("broken.png")
        page.get_by_label("Show", exact=True).select_option("all")
        page.get_by_label("Find").fill("013")
        expect(count).to_have_text(f"1 of {IMAGES + 1} images")


def test_filters_that_end(open_page: OpenPage, pair: Path, folder: Path) -> None:
    """
    A bound that is emptied is none, one that is typed stays while answers come, and filters that
    compare two networks end with the second one.
    """
    progress = """import("./web/images/collection.js").then(({collection}) =>
        collection.run.dispatchEvent(new Event("progress")))"""
    with (
        ServerProcess(pair, "--model-control-mode", "poll") as server,
        open_page(f"{url_of(server)}#images", may_fail=True) as page,
    ):
        choose(page, folder)
        count = page.locator(".controls [role=status]")
        for bound, value in (("from", "99"), ("to", "1")):
            field = page.get_by_label(f"Confidence {bound}")
            for text in (value, ""):
                field.fill(text)
                page.evaluate(progress)
                page.wait_for_timeout(700)  # new answers are drawn twice a second
                expect(field).to_have_value(text)
                field.press("Enter")
            expect(count).to_have_text(f"{IMAGES + 1} images")
            field.fill("200")
            field.press("Enter")
            expect(field).to_have_value("100")
            page.get_by_role("button", name="Show all").click()
            expect(field).to_have_value({"from": "0", "to": "100"}[bound])
        page.get_by_label("Compare with").select_option(label="other")
        wait(page)
        page.locator(".evaluation").get_by_role("button", name="Only tiny is right").click()
        expect(count).to_contain_text(f"of {IMAGES + 1} images")
        page.get_by_label("Compare with").select_option(label="nothing")
        wait(page)
        expect(count).to_have_text(f"{IMAGES + 1} images")


def test_saved_files(open_page: OpenPage, url: str, folder: Path) -> None:
    """
    CSV and JSON hold every image with its answer, or with what went wrong.
    """
    saved: dict[str, str] = {}
    with open_page(f"{url}#images", may_fail=True) as page:
        choose(page, folder)
        for name in ("CSV", "JSON"):
            with page.expect_download() as download:
                page.get_by_role("button", name=f"Save {name}").click()
            saved[name] = Path(download.value.path()).read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(saved["CSV"], newline="")))
    assert len(rows) == IMAGES + 1
    for row in rows[:-1]:
        first = row["file"].removesuffix(".png").rpartition("/")[2]
        if first == "broken":
            assert "not an image" in row["error"] or "image" in row["error"]
            assert row["label"] == ""
            continue
        assert row["label"] == f"class {tiny.answer(int(first))}"
        assert row["class"] == row["file"].split("/")[1]
        assert float(row["probability"]) - float(row["margin"]) < 1e-3
    told = json.loads(saved["JSON"])
    assert [one["file"] for one in told] == [row["file"] for row in rows]
    assert [len(one["predictions"]) for one in told].count(tiny.CLASSES) == IMAGES


def test_text_of_csv_is_quoted(open_page: OpenPage, url: str) -> None:
    """
    Commas, quotes and line breaks in names and labels stay in their fields.
    """
    script = """(names) => import("./web/images/exports.js").then(({asCsv}) => asCsv(
        names.map((path) => ({path, outcomes: [{
            model: {manifest: {name: "m", version: 1}},
            answer: {predictions: [{label: path, class_index: 0, probability: 1}]},
        }]}))))"""
    names = ['a,"b"', "line\nbreak", "plain"]
    with open_page(url) as page:
        text = page.evaluate(script, names)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["file"] for row in rows] == [row["label"] for row in rows] == names


def test_dropped_in_try(open_page: OpenPage, url: str) -> None:
    """
    Several images that are dropped on Try are shown by Images.
    """
    images = {f"{first}.png": b64encode(png(first)).decode() for first in (3, 4)}
    with open_page(url) as page:
        page.locator(".answer").first.wait_for()
        page.evaluate(DROP, images)
        expect(page.locator(".progress p")).to_contain_text("2 of 2 images classified")
        expect(page.get_by_role("link", name="Images")).to_have_attribute("aria-current", "page")


def test_busy_server(open_page: OpenPage, url: str, folder: Path) -> None:
    """
    Images that a full queue refuses are sent again; a run that is stopped continues.
    """
    full = {"error": "full", "reason": "QUEUE_FULL", "status": "RESOURCE_EXHAUSTED"}
    refused = Counter[str]()

    def answer(route: Any) -> None:
        refused["all"] += 1
        if refused["all"] > 10:
            route.continue_()
        elif refused["all"] % 2:
            route.fulfill(status=429, json=full, headers={"retry-after": "1"})
        else:
            route.fulfill(json={"answers": [full | {"status": 429, "retry_after_s": 0.1}]})

    with open_page(f"{url}#images", may_fail=True) as page:
        page.get_by_label("Network", exact=True).select_option(label="tiny")
        page.route("**/page/answers?*", answer)
        page.locator("input[webkitdirectory]").set_input_files(folder)
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Continue").click()
        wait(page)
        assert refused["all"] > IMAGES + 10
        expect(page.locator(".progress p")).to_contain_text("1 failed")
        page.unroute_all(behavior="ignoreErrors")


def test_file_that_is_removed(open_page: OpenPage, url: str, tmp_path: Path) -> None:
    """
    A file that is removed before it is sent is a failure of this image, and the run ends.
    """
    files = [tmp_path / f"{first}.png" for first in (3, 4)]
    for file in files:
        file.write_bytes(png(3))
    full = {"error": "full", "reason": "QUEUE_FULL", "status": "RESOURCE_EXHAUSTED"}
    answers = "**/page/answers?*"
    with open_page(f"{url}#images", may_fail=True) as page:
        page.get_by_label("Network", exact=True).select_option(label="tiny")
        wait_s = {"retry-after": "1"}
        page.route(answers, lambda route: route.fulfill(status=429, json=full, headers=wait_s))
        with page.expect_response(answers):
            page.locator("input[type=file]").first.set_input_files(files)
        files[0].unlink()
        page.unroute(answers)
        told = page.locator(".progress p")
        expect(told).to_contain_text("2 of 2 images classified")
        expect(told).to_contain_text("1 failed")
        page.get_by_role("button", name="Table").click()
        expect(page.locator("table.rows")).to_contain_text("it was moved, changed or removed")


def test_accuracy_is_that_of_evaluate(
    open_page: OpenPage, pair: Path, folder: Path, tmp_path: Path
) -> None:
    """
    Shares, intervals, calibration, confusions and McNemar's test are those of convoy evaluate.
    """
    report_file = tmp_path / "report.json"
    data = ("--data", f"folder:{folder}", "--part", "all", "--skip-bad-images")
    where = ("--model-repository", str(pair), "--json", str(report_file))
    assert main(["evaluate", "tiny", "other", *data, *where]) == 0
    report = json.loads(report_file.read_text(encoding="utf-8"))
    options = ("--model-control-mode", "poll")
    with (
        ServerProcess(pair, *options) as server,
        open_page(f"{url_of(server)}#images", may_fail=True) as page,
    ):
        choose(page, folder)
        page.get_by_label("Compare with").select_option(label="other")
        wait(page)
        part = page.locator(".evaluation")
        expect(part).to_contain_text(f"Accuracy on {IMAGES} images of 5 classes")
        expect(part).to_contain_text("Left out: 1 image")
        for result in report["results"]:
            one = result["evaluation"]
            row = part.locator(".shares tr", has_text=result["model"])
            top1 = one["top1"]
            shares = [f"{100 * top1[key]:.2f}" for key in ("share", "low", "high")]
            expect(row).to_contain_text(f"{shares[0]} % ({shares[1]}\N{EN DASH}{shares[2]})")
            expect(row).to_contain_text(f"{one['ece']:.4f}")
            check_confusions(page, result["model"], one["confusion"])
        told = report["pair"]
        assert told["only_first"] > 0
        expect(part).to_contain_text(f"Only tiny is right: {told['only_first']}")
        expect(part).to_contain_text(f"Only other is right: {told['only_second']}")
        p_value = re.search(r"p = ([\d.e-]+)", part.inner_text())
        assert p_value
        assert float(p_value[1]) == pytest.approx(told["p_value"], rel=0.005)
        part.get_by_role("button", name="Only tiny is right").click()
        count = page.locator(".controls [role=status]")
        expect(count).to_have_text(f"{told['only_first']} of {IMAGES + 1} images")


def check_confusions(page: Page, model: str, confusion: list[tuple[int, int, int]]) -> None:
    """Each cell has its count, and opens its images."""
    details = page.locator("details", has=page.locator("summary", has_text=f"{model}: confusion"))
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    cells = details.locator(".cell")
    expect(cells).to_have_count(len(confusion))
    for truth, given, images in confusion:
        name = f"class {truth} given as class {given}: {images}"
        expect(details.get_by_role("button", name=name, exact=True)).to_have_count(1)
    truth, given, images = next(entry for entry in confusion if entry[0] != entry[1])
    details.get_by_role("button", name=f"class {truth} given as class {given}: ").click()
    count = page.locator(".controls [role=status]")
    expect(count).to_have_text(f"{images} of {IMAGES + 1} images")
    page.get_by_role("button", name=f"Remove the filter class {truth}").click()
    expect(count).to_have_text(f"{IMAGES + 1} images")


def test_most_confident_mistakes(open_page: OpenPage, url: str, folder: Path) -> None:
    """
    They are the wrong answers alone, by falling confidence.
    """
    with open_page(f"{url}#images", may_fail=True) as page:
        choose(page, folder)
        page.get_by_role("button", name="Show the most confident mistakes").click()
        wrong = len(range(0, IMAGES, 11))
        expect(page.locator(".controls [role=status]")).to_contain_text(f"{wrong} of")
        expect(page.locator('li[data-verdict="wrong"]')).to_have_count(wrong)
        expect(page.locator(".gallery li")).to_have_count(wrong)


@pytest.mark.parametrize("counts", [(5, 2, 10), (5, 10, 2), (0, 3, 3), (7, 0, 0), (0, 0, 2000)])
def test_mcnemar(open_page: OpenPage, url: str, counts: tuple[int, int, int]) -> None:
    """
    The page's test of two networks is that of convoy evaluate, for few and for many images.
    """
    first, second = outcomes_of_two(*counts)
    script = """(both) => import("./web/images/scoring.js").then(({mcnemar}) => mcnemar(
        ...both.map((one) => one.map((right) => ({truth: 1, best: [Number(right)]})))))"""
    with open_page(url) as page:
        found = page.evaluate(script, [first.tolist(), second.tolist()])
    only_first, only_second, p_value = scoring.mcnemar(first, second)
    assert (found["onlyFirst"], found["onlySecond"]) == (only_first, only_second)
    assert found["pValue"] == pytest.approx(p_value, abs=1e-12)


def test_classes_of_other_names(open_page: OpenPage, url: str, folder: Path) -> None:
    """
    Folders that are no labels of the network are told; in their order they may be its classes.
    """
    with open_page(f"{url}#images", may_fail=True) as page:
        choose(page, folder, "lenet5")
        expect(page.locator(".problem")).to_contain_text("lenet5 does not know the classes class 0")
        expect(page.locator(".evaluation")).to_be_hidden()
        renamed = folder.parent / "renamed"
        for index, place in enumerate(sorted(folder.iterdir())):
            (renamed / f"c{index}").mkdir(parents=True, exist_ok=True)
            for file in place.iterdir():
                (renamed / f"c{index}" / file.name).write_bytes(file.read_bytes())
        choose(page, renamed)
        expect(page.locator(".problem")).to_contain_text("tiny does not know the classes c0, c1")
        page.get_by_role("button", name="Take the folders, sorted by name").click()
        wait(page)
        expect(page.locator(".evaluation")).to_contain_text(f"Accuracy on {IMAGES} images")


def test_suffixes(open_page: OpenPage, url: str) -> None:
    """
    The page takes the files that the server's formats are named by.
    """
    script = """(names) => import("./web/images/files.js").then(({imagesAmong}) => imagesAmong(
        names.map((path) => ({path, file: {type: ""}}))).images.map(({path}) => path))"""
    names = sorted(f"image{suffix}" for suffix in SUFFIXES)
    others = ["image.txt", ".hidden.png", "__MACOSX/a.png", "Thumbs.db"]
    with open_page(url) as page:
        assert page.evaluate(script, names + others) == names


def test_image_beside_the_folders(open_page: OpenPage, url: str) -> None:
    """
    An image outside the folders of classes is told, as no accuracy is then measured; a folder
    without folders is none of classes.
    """
    script = """(paths) => import("./web/images/folders.js").then(({classesOf}) => classesOf(
        paths.map((path) => ({path}))))"""
    classes = ["all/cat/1.png", "all/dog/2.png"]
    with open_page(url) as page:
        assert page.evaluate(script, classes)["classes"] == ["cat", "dog"]
        found = page.evaluate(script, ["all/sheet.png", *classes])
        assert found["classes"] is None
        assert "1 image lies in no folder of a class, such as all/sheet.png" in found["problem"]
        for paths in (["all/1.png", "all/2.png"], ["1.png", "2.png"]):
            assert page.evaluate(script, paths) == {"classes": None, "problem": ""}


def test_version_that_is_replaced(open_page: OpenPage, tmp_path: Path, folder: Path) -> None:
    """
    Answers of a version that is no longer served are told to be its; they can be asked for anew.
    """
    tiny.write(tmp_path)
    options = ("--model-control-mode", "poll", "--repository-poll-s", "0.2")
    with (
        ServerProcess(tmp_path, *options) as server,
        open_page(f"{url_of(server)}#images", may_fail=True) as page,
    ):
        choose(page, folder)
        told = page.locator(".warning")
        expect(told).to_have_count(0)
        tiny.write(tmp_path)
        expect(told).to_contain_text("answers below are of tiny version 1", timeout=30_000)
        told.get_by_role("button", name="Classify again").click()
        wait(page)
        expect(told).to_have_count(0)
        with page.expect_download() as download:
            page.get_by_role("button", name="Save CSV").click()
        saved = Path(download.value.path()).read_text(encoding="utf-8")
    assert {row["version"] for row in csv.DictReader(io.StringIO(saved))} == {"2"}
