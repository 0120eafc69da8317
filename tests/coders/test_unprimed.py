"""Compressors by themselves: figures measured elsewhere, and what containers cost."""

import bz2
import importlib.util
import lzma
import sys
import zlib

import numpy as np
import pytest

from kbit.coders.unprimed import UNPRIMED, UnprimedCoder
from kbit.corpus import Document
from kbit.errors import MissingExtraError, UsageError

SYMBOLS = 1_000_000
# Bits a symbol of a million symbols of each source: xz, zstd -19, bz2, zlib.
MEASURED = {
    "uniform-27": {"xz": 4.90, "zstd": 4.82, "bz2": 4.83, "zlib": 5.12},
    "bernoulli-0.1": {"xz": 0.560, "zstd": 0.589, "bz2": 0.573, "zlib": 0.651},
    "markov-stay-0.9": {"xz": 0.558, "zstd": 0.585, "bz2": 0.590, "zlib": 0.628},
}


def source(name: str) -> str:
    rng = np.random.default_rng(0)
    symbols = {
        "uniform-27": lambda: rng.integers(0, 27, SYMBOLS),
        "bernoulli-0.1": lambda: rng.random(SYMBOLS) < 0.1,
        "markov-stay-0.9": lambda: np.cumsum(rng.random(SYMBOLS) > 0.9) % 2,
    }[name]()
    return symbols.astype(np.uint8).tobytes().decode()


def coder(name: str) -> UnprimedCoder:
    if importlib.util.find_spec(UNPRIMED[name].module) is None:
        pytest.skip(f"needs {UNPRIMED[name].module}")
    return UnprimedCoder(name)


def bits(name: str, text: str) -> float:
    [lengths] = coder(name).code_lengths([Document(name="d", text=text)])
    return lengths.bits


@pytest.mark.parametrize("name", ["xz", "zstd", "bz2", "zlib"])
def test_sources_take_the_bits_measured_elsewhere(name):
    for kind, measured in MEASURED.items():
        assert bits(name, source(kind)) / SYMBOLS == pytest.approx(measured[name], rel=0.012), kind


def test_containers_cost_what_is_known_and_are_left_out():
    noise = np.random.default_rng(0).integers(0, 128, 1000, dtype=np.uint8).tobytes()
    ours = {name: bits(name, noise.decode()) / 8 for name in UNPRIMED if name not in ("zstd", "ppmd")}
    # Noise of seven bits in eight leaves no room for luck: what is whole is the code and its container.
    whole = {"xz": len(lzma.compress(noise, preset=9 | lzma.PRESET_EXTREME)), "bz2": len(bz2.compress(noise)),
             "zlib": len(zlib.compress(noise, 9))}  # fmt: skip
    left_out = {name: whole[name] - ours[name] for name in whole}
    assert left_out["bz2"] == 14  # magic, level, end of stream, checksum
    assert 6 <= left_out["zlib"] <= 8  # two bytes of header, four of checksum, the end of an empty code
    assert 48 <= left_out["xz"] <= 64  # header, block, index, footer, check
    full = np.random.default_rng(0).bytes(1000)
    assert len(zlib.compress(full, 9)) - 1000 == 11
    assert len(lzma.compress(full)) - 1000 == 60
    # Of 256 signs alike, tables cost hundreds of bytes; how many depends on the noise (273 elsewhere).
    assert 250 < len(bz2.compress(full)) - 1000 < 320


@pytest.mark.parametrize("name", UNPRIMED)
def test_nothing_costs_nothing_and_documents_are_apart(name):
    found = coder(name)
    texts = ["", "x", "the cat sat on the mat " * 40, "the cat sat on the mat " * 40]
    lengths = list(found.code_lengths([Document(name=str(i), text=t) for i, t in enumerate(texts)]))
    assert lengths[0].bits == 0
    assert 0 < lengths[1].bits < 8 * 90
    assert lengths[2].bits == lengths[3].bits < 0.3 * 8 * lengths[2].bytes
    assert found.name == f"{name}-alone"
    assert found.settings["baseline_text"] is None


def test_what_is_absent_or_unknown_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"kbit\[compressors\]"):
        UnprimedCoder("zstd")
    with pytest.raises(UsageError, match="did you mean 'bz2'"):
        UnprimedCoder("bz3")
