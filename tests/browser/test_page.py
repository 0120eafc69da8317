"""The page in Chromium: what it draws, what it advises, and that it asks the network for nothing."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kbit.advise import advise
from kbit.report import write_report
from kbit.report.palette import THEMES

pytestmark = pytest.mark.browser
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    script = Path(__file__).parent.parent / "report" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("browser_synthetic", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.synthetic_rows()
    for row in made:
        # One rung that reads further back than the rest, through a window; one whose memory is not known.
        if row["model"] == "rung-6":
            row |= {"max_context": 4096, "sliding_window": 100, "sliding_layers": 2}
        if row["model"] == "rung-2":
            row |= {"layers": None}
        # A gain without an interval.
        if row["model"] == "rung-5" and row["format"] == "int8:b64":
            row |= {"gain_low": None, "gain_high": None}
    return made


@pytest.fixture(scope="module")
def page_file(rows, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    opening = advise(rows, memory_gib=3 / 1024, context=256)
    return write_report(rows, {}, opening, out=out, title="Browser <test>")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright for Python")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium), which is not on the PATH")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield launched
        launched.close()


@contextmanager
def opened(browser, file: Path, **options) -> Iterator:
    """A page whose console, errors and requests are written down, and must be empty at the end."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
    yield page
    assert said == [], said
    assert [url for url in asked if url != file.as_uri() and not url.startswith("data:")] == []
    context.close()


def until(page, expression: str) -> None:
    """Wait for a JavaScript expression, from outside: the page's policy lets nothing be evaluated in it."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"still not so after 10 s: {expression}")


def choices(page) -> list[tuple]:
    """What the page lists, hidden rows too: model, format, tie with the best, bytes."""
    return page.eval_on_selector_all(
        "#choices tr",
        "rows => rows.map(r => [r.dataset.model, r.dataset.format, r.dataset.tie, Number(r.dataset.bytes)])",
    )


def advised(rows, memory_gib: float, context: int) -> list[list]:
    """The same from `advise`."""
    return [
        [c.model, c.format, {True: "true", False: "false", None: "null"}[c.tie_with_best],
         c.weights_bytes + c.kv_bytes + c.working_bytes]
        for c in advise(rows, memory_gib=memory_gib, context=context).choices
    ]  # fmt: skip


def shown_memory_gib(page) -> float:
    unit = {"KiB": 2**20, "MiB": 2**10, "GiB": 1, "TiB": 2**-10}[page.input_value("#unit")]
    return float(page.input_value("#memory")) / unit


def test_opens_with_the_advice_it_was_given(browser, page_file, rows):
    with opened(browser, page_file) as page:
        assert shown_memory_gib(page) == 3 / 1024
        found = choices(page)
        assert found == advised(rows, 3 / 1024, 256)
        assert len(found) > 8
        assert page.locator("#choices tr:visible").count() == 8
        page.click("#more")
        assert page.locator("#choices tr:visible").count() == len(found)


def test_the_slider_gives_what_advise_gives(browser, page_file, rows):
    with opened(browser, page_file) as page:
        seen = set()
        for place in (0, 130, 300, 480, 555, 700, 860, 1000):
            page.evaluate(
                "v => { const range = document.getElementById('range'); range.value = v;"
                " range.dispatchEvent(new Event('input')); }",
                place,
            )
            memory_gib = shown_memory_gib(page)
            found = choices(page)
            assert found == advised(rows, memory_gib, 256), (place, memory_gib)
            seen.add(tuple(map(tuple, found)))
            verdict = page.inner_text("#verdict")
            assert (found[0][0] in verdict) if found else ("Nothing that was measured fits" in verdict)
        assert len(seen) >= 6  # the list did change
        assert any(not s for s in seen)
        assert any({"true", "false", "null"} <= {row[2] for row in s} for s in seen)


@pytest.mark.parametrize("context", [1, 99, 101, 512, 513, 4096, 4097])
def test_the_context_gives_what_advise_gives(browser, page_file, rows, context):
    with opened(browser, page_file) as page:
        for memory, unit, gib in (("5", "MiB", 5 / 1024), ("0.004", "GiB", 0.004)):
            page.select_option("#unit", unit)
            page.fill("#memory", memory)
            page.fill("#context", str(context))
            assert choices(page) == advised(rows, gib, context)


def test_the_keyboard_moves_the_slider(browser, page_file, rows):
    with opened(browser, page_file) as page:
        before = shown_memory_gib(page)
        page.focus("#range")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        after = shown_memory_gib(page)
        assert after > before
        assert page.get_attribute("#range", "aria-valuetext").endswith("MiB")
        assert choices(page) == advised(rows, after, 256)


def test_numbers_that_make_no_sense_are_told(browser, page_file):
    with opened(browser, page_file) as page:
        page.fill("#memory", "0")
        assert page.inner_text("#verdict") == "Give a memory above zero."
        assert choices(page) == []
        page.fill("#memory", "3")
        page.fill("#context", "1.5")
        assert "whole tokens" in page.inner_text("#verdict")
        page.fill("#context", "")
        assert choices(page) == []


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.parametrize("mode", THEMES)
@pytest.mark.parametrize("width", [1280, 400])
def test_day_and_night_wide_and_narrow(browser, page_file, mode, width):
    with opened(browser, page_file, color_scheme=mode, viewport={"width": width, "height": 800}) as page:
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == rgb(THEMES[mode].ground)
        # Nothing sticks out sideways, and each chart was drawn as wide as its place.
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator(".chart svg").count() == 3
        for chart in page.locator(".chart").all():
            place, drawn = chart.bounding_box(), chart.locator("svg").bounding_box()
            assert 0.9 * place["width"] <= drawn["width"] <= place["width"] + 1
            label = chart.locator("xpath=..")
            assert label.get_attribute("role") == "img"
            assert "rung-" in label.get_attribute("aria-label")
        fills = page.eval_on_selector_all(
            ".chart[data-chart=gain] .mark-symbol path", "marks => marks.map(m => m.getAttribute('fill'))"
        )
        assert set(THEMES[mode].of_k) <= set(fills)


def test_the_charts_follow_a_change_from_day_to_night(browser, page_file):
    with opened(browser, page_file, color_scheme="light") as page:
        assert page.evaluate("document.documentElement.dataset.drawn") == "light"
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector("html[data-drawn=dark]", state="attached", timeout=30_000)
        assert page.locator(f".chart[data-chart=gain] [fill='{THEMES['dark'].of_k[0]}']").count() > 0
        assert page.locator(f".chart[data-chart=gain] [fill='{THEMES['light'].of_k[0]}']").count() == 0


def test_the_ring_marks_what_is_advised(browser, page_file):
    rings = (
        "() => [...document.querySelectorAll('.chart[data-chart=gain] path')]"
        ".filter(p => p.getAttribute('opacity') === '1' && p.getAttribute('stroke-width') === '2'"
        " && p.getBoundingClientRect().width > 18).map(p => p.getAttribute('aria-label') ?? '').length"
    )
    with opened(browser, page_file) as page:
        until(page, f"({rings})() === 1")
        page.fill("#memory", "0.001")
        until(page, f"({rings})() === 0")


def test_the_table_sorts_with_missing_figures_last(browser, page_file):
    with opened(browser, page_file) as page:

        def column(n):
            return page.eval_on_selector_all(
                "#table tbody tr", "(rows, n) => rows.map(r => r.children[n].dataset.value)", n
            )

        heads = page.locator("#table th[scope=col]").all_inner_texts()
        kl = next(i for i, h in enumerate(heads) if h.startswith("KL"))
        for direction, flip in (("ascending", 1), ("descending", -1)):
            page.click(f"#table th:nth-child({kl + 1}) button")
            values = column(kl)
            numbers = [float(v) for v in values if v]
            assert numbers == sorted(numbers, key=lambda v: flip * v)
            assert values[len(numbers) :] == [""] * 7  # the 16-bit rows have no divergence from themselves
            assert page.get_attribute(f"#table th:nth-child({kl + 1})", "aria-sort") == direction


def test_without_scripts_the_figure_is_there(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("noscript svg, #gain svg").count() >= 1
    assert "At equal stored bits" in page.inner_text("h1")
    context.close()
