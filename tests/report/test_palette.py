"""Contrast by WCAG, and colour differences as the colour-blind see them, computed here from the sources."""

import itertools

import numpy as np
import pytest

from kbit.report.palette import K_STEPS, SHAPES, THEMES, contrast, ramp, step_of

# Machado, Oliveira & Fernandes 2009, severity 1.0, on linear RGB
BLINDNESS = {
    name: np.array(rows).reshape(3, 3)
    for name, rows in {
        "none": (1, 0, 0, 0, 1, 0, 0, 0, 1),
        "protanopia": (0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216,
                       -0.003882, -0.048116, 1.051998),
        "deuteranopia": (0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413,
                         -0.011820, 0.042940, 0.968881),
        "tritanopia": (1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602,
                       0.004733, 0.691367, 0.303900),
    }.items()
}  # fmt: skip


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB, D65."""
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_contrast_of_known_colours():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the well-known near miss of 4.5
    assert contrast("#ffffff", "#777777") == contrast("#777777", "#ffffff")


@pytest.mark.parametrize("mode", THEMES)
def test_contrast_with_the_ground(mode):
    theme = THEMES[mode]
    for text in (theme.ink, theme.soft, theme.accent):
        assert contrast(text, theme.ground) >= 4.5
    for mark in (*theme.of_k, *ramp(7, mode)):
        assert contrast(mark, theme.ground) >= 3


@pytest.mark.parametrize("mode", THEMES)
@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colours_of_k_differ_for_the_colour_blind(mode, blindness):
    seen = [lab(BLINDNESS[blindness] @ linear(c)) for c in THEMES[mode].of_k]
    closest = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))
    assert closest > 20  # CIE76; a difference of 2.3 is just noticeable side by side


def test_each_step_of_k_has_a_shape_of_its_own():
    assert len(set(SHAPES)) == len(K_STEPS) == len(THEMES["light"].of_k) == len(THEMES["dark"].of_k)
    assert [step_of(k) for k in K_STEPS] == list(range(len(K_STEPS)))


def test_ramp_gets_stronger_with_size():
    for mode, theme in THEMES.items():
        strength = [contrast(c, theme.ground) for c in ramp(7, mode)]
        assert strength == sorted(strength)
    assert len(ramp(1, "light")) == 1
