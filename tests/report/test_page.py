"""The page as a file: what it holds, what it must not hold."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from kbit.advise import advise
from kbit.errors import KbitError, UsageError
from kbit.report import Composed, compose, one_study, write_report
from kbit.report.charts import gain_chart
from kbit.report.picture import frontier_keys
from kbit.report.points import read_points

EVIL = "<script>alert('x')</script>\"'&\u2028--><img src=x onerror=alert(1)>"


class Reader(HTMLParser):
    """Elements, attributes and the text of scripts, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def composed(synthetic, tmp_path_factory) -> Composed:
    out = tmp_path_factory.mktemp("page") / "r.html"
    made = compose(synthetic.synthetic_rows(), out=out, title="A title")
    assert made.report == out
    return made


@pytest.fixture(scope="module")
def page(composed) -> str:
    return composed.report.read_text(encoding="utf-8")


def test_says_what_was_asked_of_it(page):
    read = Reader(page)
    for part in (
        "At equal stored bits, 4 bits a weight gain most", "A title", "kneser-ney-6", "unigram", "uniform",
        "weights of lm_head are NaN", "rung-8", "Fitted again without rung-7", "offset[3]",
        "profile likelihood", "Only measured pairs are ranked", "5f" * 32, "study", "demo", "torch 2.13.0",
    ):  # fmt: skip
        assert part in read.text, part
    assert len([1 for name, _ in read.elements if name == "tr"]) > 42


def test_is_one_small_file_that_names_no_other(page):
    assert len(page.encode()) < 2_000_000
    assert page.count("kbitEmbed=") == 1  # the libraries once, not once a chart
    for name, attributes in Reader(page).elements:
        for attribute in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(attribute)
            assert value is None or value.startswith(("#", "data:")), (name, attribute, value)
    style = page.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_policy_lets_only_these_scripts_run(page):
    read = Reader(page)
    (policy,) = [a["content"] for n, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    runs = [s for s, (_, a) in zip(read.scripts, [e for e in read.elements if e[0] == "script"], strict=True)
            if a["type"] != "application/json"]  # fmt: skip
    assert len(runs) == 2
    for script in runs:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe-eval" not in policy
    assert re.search(r"script-src[^;]*unsafe-inline", policy) is None


def test_text_from_a_store_never_becomes_markup(rows, tmp_path):
    advice = advise(rows, memory_gib=1.0, context=64)
    plain = Reader(write_report(rows, {}, advice, out=tmp_path / "p.html", title="t").read_text())
    for row in rows:
        for column in (
            "model",
            "format",
            "method",
            "text",
            "reason",
            "studies",
            "numerics",
            "device",
            "text_hash",
        ):
            if row.get(column) is not None:
                row[column] = f"{row[column]}{EVIL}"
        row["versions"] = json.dumps({EVIL: EVIL})
    advice = advise(rows, memory_gib=1.0, context=64)
    evil = Reader(write_report(rows, {}, advice, out=tmp_path / "e.html", title=f"t{EVIL}").read_text())
    assert [n for n, _ in evil.elements] == [n for n, _ in plain.elements]
    assert not any(a.startswith("on") for _, attributes in evil.elements for a in attributes)
    assert "rung-3<script>alert('x')</script>" in evil.text
    data = json.loads(evil.scripts[0])
    assert any(EVIL in item["model"] for item in data["advice"]["items"])


def test_written_whole_or_not_at_all(rows, tmp_path, monkeypatch):
    out = tmp_path / "deep" / "r.html"
    write_report(rows, {}, None, out=out, title="first")
    before = out.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KbitError, match="No space left"):
        write_report(rows, {}, None, out=out, title="second")
    assert out.read_bytes() == before
    assert [p.name for p in out.parent.iterdir()] == ["r.html"]


def test_a_folder_is_no_page(rows, tmp_path):
    with pytest.raises(KbitError, match="is a folder"):
        write_report(rows, {}, None, out=tmp_path, title="t")


def test_without_gains_there_is_no_advice_but_a_page(rows, tmp_path):
    bare = [dict(r, gain=None, gain_low=None, gain_high=None, baseline=None) for r in rows]
    made = compose(bare, out=tmp_path / "r.html", title="t")
    assert made.advice is None
    read = Reader(made.report.read_text())
    assert "no k can be called best" in read.text
    assert "What to run" not in read.text


def test_without_facts_of_memory_there_is_no_slider(rows, tmp_path):
    bare = [dict(r, layers=None) for r in rows]
    advice = advise(bare, memory_gib=1.0, context=64)
    page = write_report(bare, {}, advice, out=tmp_path / "r.html", title="t").read_text()
    assert 'id="range"' not in page


def test_page_is_about_the_text_asked_for(rows, synthetic, tmp_path):
    both = [*rows, *synthetic.synthetic_rows(text="novels")]
    for row in both:
        if row["text"] == "novels" and row["model"] == "uniform":
            row["numerator"] = 7.5 * row["denominator"]
    advice = advise(both, memory_gib=1.0, context=64, text="novels")
    read = Reader(
        write_report(both, {}, advice, out=tmp_path / "r.html", title="t", text="novels").read_text()
    )
    assert "uniform 7.500" in read.text
    assert "uniform 8.000" not in read.text
    with pytest.raises(UsageError, match="did you mean 'novels'"):
        compose(both, out=tmp_path / "r.html", title="t", text="novel")


def test_opens_with_the_memory_of_the_middle_choice(rows, composed):
    assert composed.advice.context == 512
    everything = advise(rows, memory_gib=1e6, context=512)
    needs = sorted(c.memory_gib for c in everything.choices)
    assert composed.advice.memory_gib == pytest.approx((needs[20] + needs[21]) / 2)


def test_frontier_and_curves_of_the_chart(rows, synthetic):
    points = read_points(rows).points
    keys = frontier_keys(points)
    wanted = {
        " · ".join((m, f) if f == "bf16" else (m, f, "nearest")) for m, f in synthetic.frontier_keys(rows)
    }
    assert set(keys) == wanted
    spec = gain_chart(points, frontier=keys, baseline="kneser-ney-6")
    lines = next(v for v in spec["datasets"].values() if len(v) == 42)
    assert {v["k"] for v in lines} == {"2", "3", "4", "6", "8", "16"}
    assert "config" not in spec
    assert "#" not in json.dumps({k: v for k, v in spec.items() if k != "$schema"})  # no colour is named


def test_one_study_is_chosen():
    assert one_study([], None) is None
    assert one_study(["a"], None) == "a"
    assert one_study(["a", "b"], "b") == "b"
    with pytest.raises(UsageError, match=r"several studies \(a, b\)"):
        one_study(["a", "b"], None)
    with pytest.raises(KbitError, match="did you mean 'ladder'"):
        one_study(["ladder"], "lader")
