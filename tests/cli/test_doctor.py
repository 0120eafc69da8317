import json

import pytest

from kbit import _core
from kbit.advise import bandwidth
from kbit.cli import doctor as room
from kbit.cli.app import run


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(room, "_UNPACK_CODES", 1 << 16)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert data["core"]["path"] in data["core"]["available"] == _core.paths()
    assert [row["bits"] for row in data["unpack"]] == list(range(1, 9))
    for row in data["unpack"]:
        assert row["packed_gb_per_s"] == pytest.approx(row["codes_g_per_s"] * row["bits"] / 8)
        assert row["codes_g_per_s"] > 0
    assert all(speed > 0 for speed in data["read_gb_per_s"].values())
    assert {"nf4:b64", "int1:b64", "e4m3:b64"} <= {row["format"] for row in data["kernels"]}
    assert all(row["bf16"] and row["fp32"] for row in data["kernels"])
    assert [row["bits"] for row in data["products"]["weights_g_per_s"]] == list(range(1, 9))
    assert all(row[name] > 0 for row in data["products"]["weights_g_per_s"] for name in ("bf16", "f32", "a8"))
    import torch

    assert data["packages"]["torch"] == torch.__version__
    assert data["gpu"]["present"] == torch.cuda.is_available()
    assert data["threads"]["torch"] == torch.get_num_threads()


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "KBIT_KERNEL" in out
    assert "unpacking" in out
    assert "core-a8" in out
    assert "products of one row" in out


def test_the_forced_path_is_the_one_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KBIT_KERNEL", "portable")
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["core"]["path"] == "portable"


def test_a_path_that_cannot_run_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KBIT_KERNEL", "sse9")
    assert run(["doctor"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "'sse9' cannot run here; available:" in captured.err


def test_what_the_system_does_not_say_is_missing_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **__: object) -> str:
        raise OSError

    monkeypatch.setattr(room.Path, "read_text", unreadable)
    assert room._cpu_flags() is None
    assert room._memory() == {"total_gib": None, "available_gib": None}
