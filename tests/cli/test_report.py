"""`kbit report` over a real store, made by a study over a model that is not trained."""

import json

import pytest

from kbit.cli.app import run as kbit

STUDY = """\
name = "{name}"
models = ["small", "large"]
formats = ["bf16", "nf4:b32", "int3:b32"]
texts = ["t.txt"]
baseline_texts = ["b.txt"]
[coder]
context = 64
"""


@pytest.fixture(scope="module")
def folder(tiny_family, tmp_path_factory):
    """Two tiny Llamas with random weights, measured on a text: real rows, whatever they say."""
    place = tmp_path_factory.mktemp("report")
    for model in tiny_family:
        (place / model.name).symlink_to(model)
    (place / "t.txt").write_text("To be, or not to be, that is the question.\n")
    (place / "b.txt").write_text("Whether 'tis nobler in the mind to suffer\n" * 3)
    for name in ("one", "two"):
        (place / f"{name}.toml").write_text(STUDY.format(name=name))
    assert kbit(["study", "run", str(place / "one.toml"), "--store", str(place / "s.sqlite"), "--json"]) == 0
    return place


def call(folder, *more: str) -> list[str]:
    return ["report", "--store", str(folder / "s.sqlite"), "--out", str(folder / "r.html"), "--json", *more]


def test_page_and_picture_from_a_real_store(folder, capsys):
    assert kbit(call(folder, "--picture", str(folder / "gain.svg"), "--context", "32")) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["report"] == str(folder / "r.html")
    assert data["points"] == 6
    assert data["missing"] == 0
    assert data["study"] == "one"
    page = (folder / "r.html").read_text()
    assert len(page.encode()) == data["size_bytes"]
    assert "kbit: one" in page
    assert 'id="range"' in page  # the store knew what memory follows from
    assert "nf4:b32" in page
    assert (folder / "gain.svg").read_text().startswith("<svg")
    # Two models are too few for any law, and the page says so instead of fitting one.
    assert data["fits"] == {}
    assert all("was not fitted" in note for note in data["notes"])


def test_in_words(folder, capsys):
    assert kbit([c for c in call(folder) if c != "--json"]) == 0
    out = capsys.readouterr().out
    assert (folder / "r.html").as_uri() in out.replace("\n", "")


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--study", "tree"], 1, "holds no study 'tree'"),
        (["--text", "t.tx"], 2, "did you mean 't.txt'"),
        (["--memory-gib", "-1"], 2, "memory_gib must be positive"),
        (["--context", "0"], 2, "context must be positive"),
        (["--picture", "gain.gif"], 2, ".png or an .svg"),
        (["--out", "report.pdf"], 2, ".html"),
        (["--store", "absent.sqlite"], 1, "there is no store"),
    ],
)
def test_errors(folder, capsys, tmp_path, monkeypatch, more, code, message):
    monkeypatch.chdir(tmp_path)
    options = dict(zip(call(folder)[1:5:2], call(folder)[2:5:2], strict=True))
    options["--out"] = str(tmp_path / "r.html")
    options |= dict(zip(more[::2], more[1::2], strict=True))
    assert kbit(["report", *(word for pair in options.items() for word in pair), "--json"]) == code
    out, err = capsys.readouterr()
    assert message in err
    assert message in json.loads(out)["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_several_studies_need_a_choice(folder, capsys):
    assert (
        kbit(["study", "run", str(folder / "two.toml"), "--store", str(folder / "s.sqlite"), "--json"]) == 0
    )
    capsys.readouterr()
    assert kbit(call(folder)) == 2
    assert "several studies (one, two)" in capsys.readouterr().err
    assert kbit(call(folder, "--study", "two")) == 0
