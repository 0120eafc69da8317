"""Every path of the core against a bit stream written with NumPy."""

import os
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit import _core
from kbit.formats import pack_codes, row_bytes, unpack_codes

PATHS = _core.paths()
every_path = pytest.mark.parametrize("path", PATHS)
every_k = pytest.mark.parametrize("bits", range(1, 9))


def reference_pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Bit b of code i is bit bits*i+b of the row's stream; rows are padded to 32 codes."""
    rows, cols = codes.shape
    padded = np.zeros((rows, -(-cols // 32) * 32), dtype=np.uint8)
    padded[:, :cols] = codes
    stream = (padded[:, :, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(stream.reshape(rows, padded.shape[1] * bits), axis=1, bitorder="little")


def pack(codes: np.ndarray, bits: int, path: str, threads: int = 1) -> np.ndarray:
    out = np.full((codes.shape[0], row_bytes(codes.shape[1], bits)), 0xAA, dtype=np.uint8)
    _core.pack(codes, bits, out, threads=threads, path=path)
    return out


def unpack(packed: np.ndarray, bits: int, cols: int, path: str, threads: int = 1) -> np.ndarray:
    out = np.full((packed.shape[0], cols), 0xAA, dtype=np.uint8)
    _core.unpack(packed, bits, out, threads=threads, path=path)
    return out


@every_path
@every_k
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 172), (5, 31), (2, 64), (1, 16384), (2, 16385), (1, 40000), (300, 7)]
)
def test_pack_and_unpack_are_the_bit_stream(path: str, bits: int, shape: tuple[int, int]) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, shape, dtype=np.uint8)
    packed = reference_pack(codes, bits)
    for threads in (1, 3):
        np.testing.assert_array_equal(pack(codes, bits, path, threads), packed)
        np.testing.assert_array_equal(unpack(packed, bits, shape[1], path, threads), codes)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_shape_stride_and_path(data) -> None:
    bits = data.draw(st.integers(1, 8))
    rows, cols = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 400))
    row_step, col_step = data.draw(st.sampled_from([1, 2, 3, -1])), data.draw(st.sampled_from([1, 2, 5, -1]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    whole = np.random.default_rng(seed).integers(0, 2**bits, (6 * 3, 400 * 5), dtype=np.uint8)
    codes = whole[::row_step, ::col_step][:rows, :cols]
    if data.draw(st.booleans()):
        codes = np.asfortranarray(codes)
    path = data.draw(st.sampled_from(PATHS))
    packed = reference_pack(codes, bits)
    np.testing.assert_array_equal(pack(codes, bits, path), packed)
    wide = np.repeat(np.repeat(packed, 2, axis=0), 3, axis=1)[::2, ::3]
    np.testing.assert_array_equal(unpack(wide, bits, cols, path), codes)


@every_path
@every_k
def test_nothing_is_read_or_written_outside(path: str, bits: int) -> None:
    for cols in (1, 31, 33, 63, 65, 100):
        codes = np.random.default_rng(0).integers(0, 2**bits, (1, cols), dtype=np.uint8)
        n = row_bytes(cols, bits)
        room = np.full((1, n + 128), 0x5A, dtype=np.uint8)
        _core.pack(codes, bits, room[:, 64 : 64 + n], path=path)
        assert (room[:, :64] == 0x5A).all()
        assert (room[:, 64 + n :] == 0x5A).all()
        back = np.full((1, cols + 128), 0x5A, dtype=np.uint8)
        _core.unpack(room[:, 64 : 64 + n], bits, back[:, 64 : 64 + cols], path=path)
        assert (back[:, :64] == 0x5A).all()
        assert (back[:, 64 + cols :] == 0x5A).all()
        np.testing.assert_array_equal(back[:, 64 : 64 + cols], codes)


@every_path
@pytest.mark.parametrize("at", [0, 63, 64, 99])
def test_a_code_that_does_not_fit_is_refused(path: str, at: int) -> None:
    codes = np.zeros((2, 100), dtype=np.uint8)
    codes[1, at] = 8
    with pytest.raises(ValueError, match="does not fit in 3 bits"):
        pack(codes, 3, path)
    pack(codes, 4, path)


def test_wrong_arguments_are_refused() -> None:
    codes, out = np.zeros((2, 40), dtype=np.uint8), np.zeros((2, 24), dtype=np.uint8)
    _core.pack(codes, 3, out)
    with pytest.raises(ValueError, match="bits must be 1 to 8"):
        _core.pack(codes, 9, out)
    with pytest.raises(ValueError, match=r"out must be uint8 \[2, 32\]"):
        _core.pack(codes, 4, out)
    with pytest.raises(ValueError, match=r"packed must be uint8 \[2, 32\]"):
        _core.unpack(out, 4, codes)
    with pytest.raises(ValueError, match="available"):
        _core.pack(codes, 3, out, path="sse9")
    with pytest.raises(TypeError):
        _core.pack(codes.astype(np.int32), 3, out)


def test_the_environment_forces_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in PATHS:
        monkeypatch.setenv("KBIT_KERNEL", path)
        assert _core.path() == path
    monkeypatch.setenv("KBIT_KERNEL", "sse9")
    with pytest.raises(ValueError, match="'sse9' cannot run here"):
        _core.path()
    monkeypatch.delenv("KBIT_KERNEL")
    assert _core.path() == PATHS[0]
    assert PATHS[-1] == "portable"


@every_k
def test_torch_fallback_is_the_core(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.randint(0, 2**bits, (3, 45), dtype=torch.uint8)
    packed = pack_codes(codes, bits)
    np.testing.assert_array_equal(packed.numpy(), reference_pack(codes.numpy(), bits))
    assert torch.equal(unpack_codes(packed, bits, 45), codes)

    class Elsewhere:  # a device that is not a CPU, on which torch still computes
        type = "cuda"

    monkeypatch.setattr(torch.Tensor, "device", property(lambda _: Elsewhere()))
    monkeypatch.setattr(torch, "zeros", _without_device(torch.zeros))
    assert torch.equal(pack_codes(codes, bits), packed)
    assert torch.equal(unpack_codes(packed, bits, 45), codes)


def _without_device(function):
    def call(*args, device=None, **kwargs):
        return function(*args, **kwargs)

    return call


def test_many_python_threads_at_once() -> None:
    codes = np.random.default_rng(0).integers(0, 8, (64, 5000), dtype=np.uint8)
    expected = reference_pack(codes, 3)
    wrong = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(pack(codes, 3, "", threads=4), expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    codes = np.random.default_rng(0).integers(0, 8, (64, 5000), dtype=np.uint8)
    expected = pack(codes, 3, "", threads=4)
    child = os.fork()
    if child == 0:
        ok = all(np.array_equal(pack(codes, 3, "", threads=4), expected) for _ in range(3))
        os._exit(0 if ok else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        threading.Event().wait(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(pack(codes, 3, "", threads=4), expected)
