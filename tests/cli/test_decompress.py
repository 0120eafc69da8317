import pytest

from kbit.cli.app import run


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin with 'kbz'"),
        (b"PK\x03\x04 something else", "does not begin with 'kbz'"),
        (b"kbz\x01abc", "cut short"),
        (b"kbz\x09" + bytes(20), "version 9"),
        (b"kbz\x01" + bytes(20), "another coder made this file"),
    ],
)
def test_errors(tmp_path, capsys, content, said):
    file, out = tmp_path / "file.kbz", tmp_path / "out.txt"
    file.write_bytes(content)
    assert run(["decompress", str(file), "--out", str(out), "--coder", "kt-1"]) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()
