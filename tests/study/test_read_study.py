from pathlib import Path

import pytest

from kbit.errors import StudyError
from kbit.study import read_study

LEAST = """\
name = "ladder"
models = ["models/rung-1", "models/rung-2"]      # folders or hub ids
formats = ["bf16", "nf4:b64", "int3:b128"]
texts = ["held-out.jsonl"]                        # one {"text": …} a line, plain text, or a folder of either
baseline_texts = ["train.jsonl"]
[coder]
context = 512
stride = 256
"""


def write(folder: Path, content: str) -> Path:
    file = folder / "s.toml"
    file.write_text(content, encoding="utf-8")
    return file


def test_the_least_a_study_says(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, LEAST))
    assert (study.name, study.models, study.texts) == (
        "ladder",
        ("models/rung-1", "models/rung-2"),
        ("held-out.jsonl",),
    )
    assert (study.context, study.stride, study.batch_size) == (512, 256, None)
    assert (study.dtype, study.against_16_bit, study.methods) == ("float32", True, ("nearest",))
    assert study.folder == tmp_path


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (("formats =", "formts ="), "line 3", "no key 'formts'; did you mean 'formats'"),
        (("stride =", "strid ="), "line 8", r"\[coder\] has no key 'strid'; did you mean 'stride'"),
        (('name = "ladder"', 'context = 5\nname = "ladder"'), "line 1", r"belongs in \[coder\]"),
        (("stride = 256", 'stride = 256\nname = "x"'), "line 9", "top of the file"),
        (("stride = 256", "stride = 513"), "line 8", "longer than the context 512"),
        (("stride = 256", "stride = 0"), "line 8", "whole number from 1, not 0"),
        (("stride = 256", "stride = true"), "line 8", "whole number from 1, not True"),
        (('["held-out.jsonl"]', '"held-out.jsonl"'), "line 4", "list of texts"),
        (('["held-out.jsonl"]', "[]"), "line 4", "is empty"),
        (('["held-out.jsonl"]', '["a", "a"]'), "line 4", "names a twice"),
        (('name = "ladder"\n', ""), "s.toml", "no name"),
        (('name = "ladder"', 'name = "ladder"\ndtype = "int8"'), "line 2", "dtype 'int8'"),
        (('name = "ladder"', 'name = "ladder"\nagainst_16_bit = 1'), "line 2", "true or false"),
        (("[coder]\ncontext = 512\nstride = 256", "coder = 5"), "line 6", "must be a table"),
        (('name = "ladder"', "name = ladder"), "s.toml", "not TOML"),
    ],
)
def test_a_wrong_study_is_told_where_and_what(
    tmp_path: Path, change: tuple[str, str], place: str, message: str
) -> None:
    assert change[0] in LEAST
    with pytest.raises(StudyError, match=message) as caught:
        read_study(write(tmp_path, LEAST.replace(*change)))
    assert place in str(caught.value)


def test_files_that_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path / "none.toml")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(StudyError, match="not UTF-8"):
        read_study(tmp_path / "latin.toml")
