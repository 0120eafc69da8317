import struct
import xml.etree.ElementTree as ET

import pytest

from kbit.errors import UsageError
from kbit.report import save_picture
from kbit.report.palette import THEMES


@pytest.mark.parametrize("mode", THEMES)
def test_svg_draws_every_point_in_the_colours_of_its_mode(rows, tmp_path, mode):
    path = save_picture(rows, {}, out=tmp_path / "gain.svg", mode=mode)
    svg = path.read_text()
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    described = [e.get("aria-label", "") for e in root.iter() if e.get("aria-roledescription") == "point"]
    assert sum("model: rung-" in d and "95% interval" in d for d in described) == 42
    for colour in (*THEMES[mode].of_k, THEMES[mode].ground):
        assert colour in svg
    other = THEMES["dark" if mode == "light" else "light"]
    assert not any(colour in svg for colour in (*other.of_k, other.ground))


def test_png_is_one_of_the_size_asked_for(rows, tmp_path):
    content = save_picture(rows, {}, out=tmp_path / "gain.png", scale=1.0).read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (880, 480)


def test_another_ending_is_refused(rows, tmp_path):
    with pytest.raises(UsageError, match=r"\.png or a \.svg"):
        save_picture(rows, {}, out=tmp_path / "gain.jpg")
