"""The map in Chromium, opened from a file: planes, colours, hover, neighbours; no message and no request."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kbit.information.latent_space import Plane
from kbit.report.latent_map import LatentMap, write_map

pytestmark = pytest.mark.browser


def beside():
    path = Path(__file__).parent / "test_page.py"
    spec = importlib.util.spec_from_file_location("kbit_browser_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = beside()
browser = pages.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return write_map(
        LatentMap(
            title="A map <i>",
            summary="four texts",
            names=["a", "b", "c", "d"],
            texts=["red <b>hen</b>", "天地", "a barn", "red sky"],
            planes=[Plane(method="pca", points=points, explained=(0.7, 0.3)),
                    Plane(method="tsne", points=points[::-1])],
            colourings={"label": ["x", "y", "x", "x"], "cluster": ["cluster 1"] * 4},
            neighbours=[[1], [0], [3], [2]],
            prior=["a moon"],
            path=["one", "two"],
            ends=["the first", "the <last>"],
        ),
        tmp_path_factory.mktemp("map") / "map.html",
    )  # fmt: skip


def test_the_map_is_looked_at(browser, file):
    with pages.opened(browser, file) as page:
        assert page.title() == "A map <i>"
        assert page.locator("circle").count() == 4
        assert page.locator("main b").count() == 0  # text is never markup
        before = page.locator("circle").first.get_attribute("cx")
        page.select_option("#plane", "tsne")
        assert page.locator("#axes").text_content() == "t-SNE 1 and t-SNE 2"
        assert float(page.locator("circle").first.get_attribute("cy")) == 24.0
        assert float(before) == 24.0
        colours = [page.locator("circle").nth(i).get_attribute("fill") for i in range(4)]
        assert colours[0] == colours[2] != colours[1]
        page.select_option("#colour", "cluster")
        assert len({page.locator("circle").nth(i).get_attribute("fill") for i in range(4)}) == 1
        assert "cluster 1 (4)" in page.locator("#key").text_content()
        page.locator("circle").nth(1).click()
        assert "天地" in page.locator("#told").text_content()
        assert page.locator("#near li").all_text_contents() == ["red <b>hen</b>"]
        page.fill("#find", "red")
        pale = [page.locator("circle").nth(i).get_attribute("class") or "" for i in range(4)]
        assert ["pale" in c for c in pale] == [False, True, True, False]
        assert page.locator("section li").all_text_contents() == ["a moon", "one", "two"]
        assert page.locator("section p").all_text_contents() == ["From: the first", "To: the <last>"]


def test_the_map_is_walked_without_a_mouse(browser, file):
    with pages.opened(browser, file) as page:
        page.locator("#find").focus()
        page.keyboard.press("Tab")
        told = page.locator("#told")
        assert "red <b>hen</b>" in told.text_content()
        page.keyboard.press("ArrowRight")
        assert "天地" in told.text_content()
        page.fill("#find", "red")
        page.locator("#find").press("Enter")
        assert "red <b>hen</b>" in told.text_content()
        page.locator("circle").first.focus()
        page.keyboard.press("ArrowDown")  # only those that hold the word
        assert "red sky" in told.text_content()
        page.locator("#near li button").click()
        assert "a barn" in told.text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_map_is_drawn_in_the_colours_asked_for(browser, file, scheme):
    from kbit.report.palette import THEMES

    with pages.opened(browser, file, color_scheme=scheme) as page:
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        wanted = THEMES[scheme].ground.lstrip("#")
        assert ground == f"rgb({', '.join(str(int(wanted[i : i + 2], 16)) for i in (0, 2, 4))})"
