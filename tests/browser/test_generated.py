"""The section on generated text in Chromium: drawn, labelled, silent."""

import importlib.util
from pathlib import Path

import pytest

from kbit.report import write_report

pytestmark = pytest.mark.browser
TESTS = Path(__file__).parent.parent


def module(path: Path):
    spec = importlib.util.spec_from_file_location(f"kbit_browser_{path.parent.name}_{path.stem}", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


pages = module(TESTS / "browser" / "test_page.py")
browser = pages.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    plain = module(TESTS / "report" / "synthetic.py").synthetic_rows()
    rows = [*plain, *module(TESTS / "report" / "test_generated.py").generated(plain)]
    return write_report(rows, {}, None, out=tmp_path_factory.mktemp("g") / "g.html", title="Generated")


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_charts_of_generated_text_are_drawn(browser, file, mode, width):
    with pages.opened(browser, file, color_scheme=mode, viewport={"width": width, "height": 800}) as page:
        assert page.locator("#generated .chart svg").count() == 3
        assert page.evaluate("document.documentElement.scrollWidth") == width
        plane = page.locator(".chart[data-chart=generated-plane]")
        assert "Human text takes 1.5000" in plane.locator("xpath=..").get_attribute("aria-label")
        fills = plane.locator(".mark-symbol path").evaluate_all("ms => ms.map(m => m.getAttribute('fill'))")
        assert set(pages.THEMES[mode].of_k) <= set(fills)
