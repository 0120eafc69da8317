"""Folders and hub ids."""

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from kbit.errors import ModelError
from kbit.models import load_tokenizer, locate, open_model


def test_a_folder_goes_before_a_hub_id(tmp_path, monkeypatch):
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    assert locate("gpt2").name == "gpt2"
    assert locate(tmp_path / "gpt2") == tmp_path / "gpt2"


def test_a_hub_id_is_downloaded_without_pickles_or_code(tiny, tmp_path, monkeypatch):
    local = tiny.write_model(tmp_path / "snapshot", "gpt2")
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **k: asked.append((name, k)) or str(local)
    )
    monkeypatch.chdir(tmp_path)
    assert open_model("owner/name@v1.0").path == local
    assert open_model("gpt2").config["model_type"] == "gpt2"
    assert [(name, k["revision"]) for name, k in asked] == [("owner/name", "v1.0"), ("gpt2", None)]
    patterns = asked[0][1]["allow_patterns"]
    assert "*.safetensors" in patterns
    assert not any(p.endswith((".bin", ".py", ".pt")) for p in patterns)


def test_a_hub_that_cannot_be_reached_is_told(tmp_path, monkeypatch):
    def fail(name, **settings):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match="no such folder here, and the hub could not be reached"):
        locate("owner/name")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "", "~/nowhere"])
def test_what_cannot_be_a_hub_id_never_goes_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    if name == "":
        assert locate(name).resolve() == tmp_path  # Path("") is here
        return
    with pytest.raises(ModelError, match="no such folder"):
        locate(name)


def test_a_file_or_a_folder_without_a_model_is_told(tiny, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        locate(tmp_path / "file")
    with pytest.raises(ModelError, match=r"has no config.json"):
        open_model(tmp_path)
    with pytest.raises(ModelError, match="has no tokeniser"):
        load_tokenizer(tiny.write_model(tmp_path / "model", "gpt2"))


def test_a_shipped_model_by_its_name():
    from kbit import ladder

    assert locate("ladder:rung-3") == ladder.rungs()[2]
    assert open_model("ladder:rung-1").path == ladder.rungs()[0]
    with pytest.raises(ModelError, match=r"ships no such model.*rung-7"):
        locate("ladder:rung-8")
