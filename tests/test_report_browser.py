"""The page as a browser shows it: offline, light and dark, wide and narrow, with the numbers of report.json."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.demo_report import demo_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'miafast[dev]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH (Debian: apt install chromium)"),
]

REPORTS: dict[str, dict[str, Any]] = {
    "every model in turn": {"queries": 2},
    "users target": {"has_target": True, "records": 4000, "models": 16, "unscored": 7},
    "tiny and hostile": {
        "has_target": True, "records": 24, "attacks": 1, "name": "<script>x</script>" + "w" * 150,
        "class_names": ("<b>" + "long " * 30,) * 4, "warnings": ("v" * 200,), "settings": {"k" * 90: "v" * 90},
    },
}  # fmt: skip
WIDTHS = {"desktop": 1200, "phone": 360}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("pages")
    return {name: demo_report(**options).save(home / name) for name, options in REPORTS.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        running = engine.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


class Visit:
    """A page opened from disk, with everything it asked for and complained of."""

    def __init__(self, browser: Any, folder: Path, *, width: int = 1200, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto((folder / "report.html").as_uri())
        self.facts = json.loads((folder / "report.json").read_text(encoding="utf-8"))

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector)).replace("\N{NO-BREAK SPACE}", " ")

    def style(self, selector: str, name: str) -> str:
        script = "(node, name) => getComputedStyle(node)[name]"
        return str(self.page.eval_on_selector(selector, script, name))

    def rows(self, table: str) -> list[list[str]]:
        script = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.replace(/\\s+/g, ' ')))"
        found: list[list[str]] = self.page.eval_on_selector_all(f"{table} tbody tr:not(.group)", script)
        return found


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("which", REPORTS)
def test_page_is_whole_at_every_width(which: str, width: int, browser: Any, folders: dict[str, Path]) -> None:
    with Visit(browser, folders[which], width=width) as visit:
        page = visit.page
        assert visit.requests == [page.url]
        assert visit.complaints == []
        assert visit.text("#headline") == visit.facts["headline"]["text"]
        assert page.is_visible("#headline")
        assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [width, width]
        sticking_out = page.evaluate(
            "[...document.querySelectorAll('main *')].filter(node => !node.closest('.box, svg')"
            " && node.getBoundingClientRect().right > innerWidth + 1).map(node => node.outerHTML.slice(0, 80))"
        )
        assert sticking_out == []
        pictures = page.eval_on_selector_all(
            "svg", "all => all.map(each => each.getBoundingClientRect()).map(box => [box.width, box.height])"
        )
        assert len(pictures) >= 3
        assert all(across >= 36 and up >= 14 for across, up in pictures)
        assert page.eval_on_selector_all("img", "all => all.length") == 0


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_text_in_plots_is_legible_and_apart(width: int, browser: Any, folders: dict[str, Path]) -> None:
    with Visit(browser, folders["every model in turn"], width=width) as visit:
        script = """plots => plots.map(plot => [...plot.querySelectorAll('.tick')].map(text => {
            const box = text.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; }))"""
        plots = visit.page.eval_on_selector_all("svg.plot", script)
        assert sum(map(len, plots)) > 20
        for boxes in plots:
            assert all(bottom - top >= 10 for _, top, _, bottom in boxes)
            for place, (left, top, right, bottom) in enumerate(boxes):
                for other in boxes[place + 1 :]:
                    apart = right <= other[0] or other[2] <= left or bottom <= other[1] + 3 or other[3] <= top + 3
                    assert apart, (boxes[place], other)


def test_tables_scroll_inside_their_box_on_a_phone(browser: Any, folders: dict[str, Path]) -> None:
    with Visit(browser, folders["every model in turn"], width=360) as visit:
        script = "box => [box.scrollWidth > box.clientWidth, getComputedStyle(box).overflowX, box.tabIndex]"
        assert visit.page.eval_on_selector(".box:has(#measures)", script) == [True, "auto", 0]
        visit.page.eval_on_selector(".box:has(#measures)", "box => { box.scrollLeft = 1000 }")
        label = "document.querySelector('#measures tbody th[scope=row]').getBoundingClientRect().left"
        assert 0 <= visit.page.evaluate(label) < 40  # the measure's name stays in sight
        assert visit.page.evaluate("[scrollX, document.documentElement.scrollWidth]") == [0, 360]


def test_dark_mode_changes_page_and_plots(browser: Any, folders: dict[str, Path]) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        with Visit(browser, folders["users target"], scheme=scheme) as visit:
            seen[scheme] = [
                visit.style("body", "backgroundColor"), visit.style("body", "color"),
                visit.style("svg.roc .look-0", "stroke"), visit.style("svg.roc .tick", "fill"),
                visit.style("svg.phi .bars.in", "fill"), visit.style("svg.phi .target", "stroke"),
            ]  # fmt: skip
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))
    assert _brightness(seen["light"][0]) > 240
    assert _brightness(seen["dark"][0]) < 40


def test_print_is_light_whatever_the_screen(browser: Any, folders: dict[str, Path]) -> None:
    with Visit(browser, folders["every model in turn"], scheme="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert visit.style("body", "backgroundColor") == "rgb(255, 255, 255)"
        assert visit.style("body", "color") == "rgb(0, 0, 0)"
        visit.page.set_viewport_size({"width": 720, "height": 1000})  # A4 without its margins
        assert visit.page.eval_on_selector_all(".box", "all => all.every(box => box.scrollWidth <= box.clientWidth)")
        assert visit.page.pdf(format="A4").startswith(b"%PDF")


def test_page_is_accessible(browser: Any, folders: dict[str, Path]) -> None:
    with Visit(browser, folders["users target"]) as visit:
        page = visit.page
        assert page.get_attribute("html", "lang") == "en"
        levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(each => Number(each.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        unnamed = (
            "svg:not([aria-hidden=true]):not([role=img][aria-label])",
            "th:not([scope])",
            "[role=region]:not([aria-label])",
        )
        for selector in unnamed:
            assert page.eval_on_selector_all(selector, "all => all.length") == 0, selector
        label = page.get_attribute("svg.roc", "aria-label")
        level = visit.facts["attacks"][0]["tpr"][2]
        assert f"{100 * level['value']:.1f} % at 0.1 %" in label


def test_measures_are_those_of_report_json(browser: Any, folders: dict[str, Path]) -> None:
    with Visit(browser, folders["every model in turn"]) as visit:
        rows = iter(visit.rows("#measures"))
        attacks = visit.facts["attacks"]
        _same(next(rows), "AUC", [[each["auc"][name] for name in ("value", "low", "high")] for each in attacks])
        _same(next(rows), "balanced accuracy", [[100 * each["balanced_accuracy"]] for each in attacks])
        for place, rate in enumerate(("10 %", "1 %", "0.1 %", "0.01 %")):
            expected = [_in_percent(each["tpr"][place], "value", "low", "high") for each in attacks]
            _same(next(rows), f"TPR at {rate} FPR", expected)
        before = [[each["true_positives_before_first_false_positive"], each["members"]] for each in attacks]
        _same(next(rows), "members found before the first false alarm", before)
        for place, prior in enumerate(("50 %", "10 %", "1 %")):
            expected = [_in_percent(each["precision"][place], "value") for each in attacks]
            _same(next(rows), f"precision at 0.1 % FPR if {prior} are members", expected)
        _same(next(rows), "AUC", [[each["per_target"]["auc"][name] for name in ("mean", "sd")] for each in attacks])
        for place, rate in enumerate(("10 %", "1 %", "0.1 %", "0.01 %")):
            expected = [_in_percent(each["per_target"]["tpr"][place], "mean", "sd") for each in attacks]
            _same(next(rows), f"TPR at {rate} FPR", expected)
        assert list(rows) == []


@pytest.mark.parametrize("which", ["every model in turn", "users target"])
def test_exposed_records_and_accuracy_are_those_of_report_json(
    which: str, browser: Any, folders: dict[str, Path]
) -> None:
    with Visit(browser, folders[which]) as visit:
        exposed = visit.facts["exposed"]
        records = exposed["most"] + exposed["typical"]
        for row, each in zip(visit.rows("#exposed"), records, strict=True):
            one = each["target_phi"] is not None
            found = ("yes" if each["found"] else "no") if one else f"{each['found']} of {each['of']}"
            assert row[:3] == [str(each["record"]), each["class"], found]
            assert _numbers(row[3]) == pytest.approx([each["score"]], abs=0.0051)
            assert _numbers(row[4]) == pytest.approx([each["separation"]], abs=0.0051)
            assert not one or _numbers(row[5]) == pytest.approx([each["target_phi"]], abs=0.0051)
        for row, each in zip(visit.rows("#accuracy"), visit.facts["accuracy"], strict=True):
            expected = [_in_percent({**each[part]}, "mean", "sd") for part in ("train", "test", "gap")]
            _same([row[0], *row[2:]], each["who"], expected)


def _in_percent(facts: dict[str, Any], *names: str) -> list[float]:
    return [100 * facts[name] for name in names if facts[name] is not None]


def _same(row: list[str], label: str, expected: list[list[float]]) -> None:
    """A row of the page holds these numbers, each rounded to the digits shown; no numbers: not measurable."""
    assert row[0].replace("\N{NO-BREAK SPACE}", " ") == label
    assert len(row) == 1 + len(expected)
    for cell, numbers in zip(row[1:], expected, strict=True):
        assert len(_numbers(cell)) == len(numbers), (label, cell)
        for shown, number, digits in zip(_numbers(cell), numbers, _digits(cell), strict=True):
            assert abs(shown - number) <= 0.5 * 10**-digits + 1e-9, (label, cell)
        assert numbers or cell == "not measurable"


def _numbers(text: str) -> list[float]:
    return [float(each) for each in _texts(text)]


def _digits(text: str) -> list[int]:
    return [len(each.partition(".")[2]) for each in _texts(text)]


def _texts(text: str) -> list[str]:
    return re.findall(r"-?\d+(?:\.\d+)?", text.replace("−", "-").replace(",", ""))


def _brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
