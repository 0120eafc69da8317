"""Documents from every kind of file, packed and not, in whatever encoding."""

import bz2
import gzip
import io
import json
import lzma
import sys

import pytest

from kbit.corpus import read_documents
from kbit.corpus.opening import ReadTally
from kbit.corpus.read import ReadOptions
from kbit.errors import CorpusError, MissingExtraError, UsageError

ROWS = [("one", 'a "quoted", text\nof two lines'), ("two", "你好\r\n"), ("three", "")]


def read(path, **options):
    return [(d.name, d.text) for d in read_documents([path], ReadOptions(**options))]


def jsonl(field="text"):
    return "".join(json.dumps({"name": n, field: t}) + "\n" for n, t in ROWS).encode()


def zstd(content: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard", reason="needs zstandard")
    half = len(content) // 2
    # Two frames, one after the other, as parallel compressors write them.
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (content[:half], content[half:]))


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files(tmp_path, suffix):
    for name, content in (("x.jsonl", jsonl()), ("plain.txt", "你好".encode())):
        (tmp_path / (name + suffix)).write_bytes(PACKERS[suffix](content))
    assert read(tmp_path / f"x.jsonl{suffix}") == ROWS
    assert read(tmp_path / f"plain.txt{suffix}") == [(f"plain.txt{suffix}", "你好")]


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files_cut_short_or_damaged(tmp_path, suffix):
    packed = PACKERS[suffix](jsonl() * 200)
    for content in (packed[: 2 * len(packed) // 3], b"\x00\x01 no such thing"):
        (tmp_path / f"x.jsonl{suffix}").write_bytes(content)
        with pytest.raises(CorpusError, match=r"x\.jsonl.* is (damaged|cut short)"):
            read(tmp_path / f"x.jsonl{suffix}")


@pytest.mark.parametrize(("suffix", "mark"), [(".csv", ","), (".tsv", "\t")])
def test_tables(tmp_path, suffix, mark):
    import csv

    file = tmp_path / f"t{suffix}"
    with file.open("w", newline="", encoding="utf-8-sig") as handle:
        csv.writer(handle, delimiter=mark).writerows([("name", "n", "body"), *((n, 1, t) for n, t in ROWS)])
    assert read(file, field="body") == ROWS
    assert [name for name, _ in read(file, field="body", name_field="n")] == ["1"] * 3
    with pytest.raises(CorpusError, match=r'line 3: no "text" .*body, n, name.*--field'):
        read(file)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    table = pyarrow.table({"id": [1, 2, 3], "body": [t for _, t in ROWS], "other": [[1]] * 3})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    assert read(tmp_path / "t.parquet", field="body") == [(str(i + 1), t) for i, (_, t) in enumerate(ROWS)]
    with pytest.raises(CorpusError, match="no column 'text'"):
        read(tmp_path / "t.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        read(tmp_path / "no.parquet")


def test_datasets(tmp_path):
    pytest.importorskip("datasets", reason="needs datasets")
    (tmp_path / "train.jsonl").write_bytes(jsonl())
    assert read(f"datasets:{tmp_path}:train") == ROWS
    with pytest.raises(CorpusError, match="cannot be read"):
        read(f"datasets:{tmp_path}:absent")


def test_extras_that_are_absent_are_named(tmp_path, monkeypatch):
    for name in ("zstandard", "pyarrow", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "x.zst").write_bytes(b"x")
    (tmp_path / "x.parquet").write_bytes(b"x")
    for path, extra in (("x.zst", "compressors"), ("x.parquet", "parquet")):
        with pytest.raises(MissingExtraError, match=rf"kbit\[{extra}\]"):
            read(tmp_path / path)
    with pytest.raises(MissingExtraError, match=r"kbit\[datasets\]"):
        read("datasets:some:train")
    with pytest.raises(UsageError, match="datasets:NAME"):
        read("datasets:some")


def test_standard_input(monkeypatch):
    class Piped:
        buffer = io.BytesIO(jsonl())

    monkeypatch.setattr(sys, "stdin", Piped)
    assert read("-", kind="jsonl") == ROWS


def test_a_field_by_name(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(jsonl("content"))
    assert read(tmp_path / "x.jsonl", field="content") == ROWS


def test_a_plain_text_divided(tmp_path):
    (tmp_path / "t.txt").write_text("a\nb\n \n\n\nc\nd", newline="")
    assert read(tmp_path / "t.txt", division="line") == [
        ("t.txt:1", "a\n"), ("t.txt:2", "b\n"), ("t.txt:6", "c\n"), ("t.txt:7", "d\n")]  # fmt: skip
    assert read(tmp_path / "t.txt", division="paragraph") == [("t.txt:1", "a\nb\n"), ("t.txt:6", "c\nd\n")]


@pytest.mark.parametrize("encoding", ["gb18030", "latin-1", "utf-16", "utf-16-be", "shift_jis", "utf-8"])
def test_encodings_by_name(tmp_path, monkeypatch, encoding):
    text = {"latin-1": "Straße\nça va\r\n", "shift_jis": "日本語\nです"}.get(
        encoding, "中文。\r\n第二行 é"
    ) * 40
    (tmp_path / "t.txt").write_bytes(text.encode(encoding))
    # In pieces of seven bytes, so that every character is cut somewhere.
    monkeypatch.setattr("kbit.corpus.opening.PIECE_BYTES", 7)
    assert read(tmp_path / "t.txt", encoding=encoding) == [("t.txt", text)]


def test_encodings_detected(tmp_path):
    german = "Über die Brücke ging früher täglich der müde Bürgermeister. Das Gebäude heißt seither Schloß. "
    chinese = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。"
    for encoding, text in (("latin-1", german), ("gb18030", chinese), ("utf-8", chinese), ("utf-16", german)):
        (tmp_path / "t.txt").write_bytes((text * 5).encode(encoding))
        assert read(tmp_path / "t.txt", encoding="detect") == [("t.txt", text * 5)], encoding


def test_an_encoding_that_does_not_exist(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"x")
    with pytest.raises(UsageError, match="no encoding 'utf-9'"):
        read(tmp_path / "t.txt", encoding="utf-9")


@pytest.mark.parametrize("piece", [1, 3, 5, 1 << 20])
def test_what_is_no_utf8_is_refused_with_its_offset_or_replaced_and_counted(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("kbit.corpus.opening.PIECE_BYTES", piece)
    content = "é\n\ufffd中".encode() + b"\xe4\xb8" + b"ab\n\xff" + "\ufffd".encode() + b"\xc3"
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=r"t\.txt, line 2: not UTF-8 at byte offset 9 \(byte 0xe4\)"):
        read(tmp_path / "t.txt")
    tally = ReadTally()
    [document] = read_documents([tmp_path / "t.txt"], ReadOptions(replace=True), tally=tally)
    assert document.text == content.decode(errors="replace")
    assert tally.characters_replaced == 3


def test_a_line_of_100_megabytes(tmp_path):
    text = "0123456789" * 10_000_000
    with (tmp_path / "long.jsonl").open("w") as file:
        file.write('{"text": "short"}\n{"text": "' + text + '"}\n')
    short, long = read_documents([tmp_path / "long.jsonl"])
    assert (short.text, long.bytes) == ("short", 100_000_000)
    assert long.text.endswith("0123456789")


def test_a_document_that_is_too_long_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("kbit.corpus.read.MOST_DOCUMENT_BYTES", 1 << 20)
    (tmp_path / "t.txt").write_text("many lines\n" * 100_000)
    with pytest.raises(CorpusError, match=r"longer than 1 MiB.*--documents line"):
        read(tmp_path / "t.txt")
    assert len(read(tmp_path / "t.txt", division="line")) == 100_000


@pytest.mark.parametrize(("option", "said"), [({"kind": "json"}, "jsonl"), ({"division": "lines"}, "'line'")])
def test_options_that_do_not_exist(option, said):
    with pytest.raises(UsageError, match=said):
        ReadOptions(**option)
