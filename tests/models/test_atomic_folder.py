"""A folder appears whole or not at all."""

import errno
import shutil

import pytest

from kbit.errors import ModelError
from kbit.models.atomic_folder import new_folder


def entries(folder):
    return [p.name for p in folder.iterdir()]


def test_the_folder_appears_when_the_block_ends(tmp_path):
    out = tmp_path / "deep" / "out"
    with new_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert entries(out.parent) == ["out"]
    assert out.stat().st_mode & 0o777 == tmp_path.joinpath("deep").stat().st_mode & 0o777


def test_nothing_is_left_after_an_error(tmp_path):
    def fail():
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert entries(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def fail():
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match="disk became full"):
        fail()
    assert entries(tmp_path) == []


def test_too_little_space_is_found_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    said = pytest.raises(ModelError, match="needs 1000 bytes and the disk has 999 free")
    with said, new_folder(tmp_path / "out", needed_bytes=1000):
        pass
    assert entries(tmp_path) == []


def test_what_exists_is_replaced_only_if_allowed_and_a_model(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "diary.txt").write_text("dear")
    with pytest.raises(ModelError, match="exists already"), new_folder(out):
        pass
    with pytest.raises(ModelError, match="is not a model folder"), new_folder(out, overwrite=True):
        pass
    assert (out / "diary.txt").read_text() == "dear"
    (out / "config.json").write_text("{}")
    with new_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("2")
    assert entries(out) == ["new"]
    assert entries(tmp_path) == ["out"]


def test_the_old_folder_survives_a_failed_replacement(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("old")

    def fail():
        with new_folder(out, overwrite=True) as folder:
            (folder / "config.json").write_text("new")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "config.json").read_text() == "old"
    assert entries(tmp_path) == ["out"]
