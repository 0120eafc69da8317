"""The page of coloured tokens in Chromium: colours, figures, keyboard; no message and no request."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kbit.corpus import Document
from kbit.information.by_token import TokenTable
from kbit.report.token_page import write_token_page

pytestmark = pytest.mark.browser
TEXT = "the <b>hen</b> & 天地\nend"
TOLD = "document.getElementById('told').value"


def beside():
    path = Path(__file__).parent / "test_page.py"
    spec = importlib.util.spec_from_file_location("kbit_browser_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = beside()
browser = pages.browser


def table(name: str) -> TokenTable:
    ends = np.array([3, 7, 10, 14, 17, 23, len(TEXT.encode())])
    return TokenTable(
        document=Document(name=name, text=TEXT),
        ids=tuple(range(7)),
        ends=ends,
        model_bits=np.array([1.0, 9.0, 2.0, 3.0, 4.0, 0.5, 2.5]),
        against_bits=np.array([1.0, 1.0, 6.0, 3.0, 2.0, 0.5, 2.0]),
        baseline_bits=np.array([3.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]),
        before=np.arange(7),
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "tokens.html"
    return write_token_page(
        [table("a"), table("b <i>"), table("c")], out=out, title="Tokens <test>", model="three bits",
        against="sixteen bits", baseline="kneser-ney-6",
    )  # fmt: skip


def strength(page, token: int) -> str:
    return page.evaluate("i => document.querySelectorAll('.t')[i].style.getPropertyValue('--v')", token)


def test_colours_follow_the_scale_and_figures_are_told(browser, file):
    with pages.opened(browser, file) as page:
        assert page.title() == "Tokens <test>"
        assert page.locator(".text").first.text_content() == TEXT
        assert page.locator("section b").count() == 0  # text is never markup
        # 9 bits against 1: worse by 8, and 4 is as strong as it gets; 2 against 6: better by 4.
        assert [strength(page, i) for i in range(3)] == ["0.00", "1.00", "-1.00"]
        assert strength(page, 4) == "0.50"
        page.select_option("#scale", "gain")
        assert strength(page, 0) == "-0.25"
        page.select_option("#scale", "model")
        assert strength(page, 1) == "0.75"
        page.hover(".t >> nth=1")
        assert "model 9.00, against 1.00, baseline 9.00" in page.evaluate(TOLD)
        page.focus(".t >> nth=0")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert "model 2.00" in page.evaluate(TOLD)
        page.click("summary")
        assert page.locator("tbody tr").count() == 7
        assert "+8.000" in page.locator("tbody tr").first.inner_text()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_day_and_night_wide_and_narrow(browser, file, mode, width):
    with pages.opened(browser, file, color_scheme=mode, viewport={"width": width, "height": 700}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == pages.rgb(pages.THEMES[mode].ground)


def test_without_scripts_the_colours_are_there(browser, file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert "--v:1.00" in page.locator(".t").nth(1).get_attribute("style")
    context.close()
