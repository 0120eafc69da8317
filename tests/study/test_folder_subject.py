"""A folder measured without a study is the subject that a study would make of it."""

import importlib.util
from pathlib import Path

import pytest

from kbit.errors import UsageError
from kbit.quantize import quantize_model
from kbit.store.identity import subject_key
from kbit.study import plan, read_study
from kbit.study.folder_subject import folder_subject

TINY = Path(__file__).parent.parent / "coders" / "tiny.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("kbit_tests_tiny", TINY)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    return tiny.folder(tmp_path_factory.mktemp("models") / "tiny-1")


def test_16_bit_folders_are_a_study_s_subjects(folder, tmp_path):
    (tmp_path / "text.txt").write_text("the hen")
    (tmp_path / "s.toml").write_text(
        f'name = "s"\nmodels = ["{folder}"]\nformats = ["bf16", "int3:b16"]\ntexts = ["text.txt"]\n'
        'baselines = ["uniform"]\n'
    )
    planned = plan(read_study(tmp_path / "s.toml"))
    theirs = {t.subject.labels.format: t.subject for t in planned.tasks if t.subject.kind == "model"}
    assert set(theirs) == {"bf16", "int3:b16"}
    for fmt, given in (("bf16", None), ("int3:b16", "int3:b16")):
        ours = folder_subject(str(folder), dtype="float32", weight_format=given)
        assert subject_key(ours) == subject_key(theirs[fmt])
        assert ours.labels == theirs[fmt].labels


def test_a_k_bit_folder_is_a_subject_of_its_own(folder, tmp_path):
    out = quantize_model(folder, tmp_path / "k", format="int3:b16", embeddings="int8:b16").out
    subject = folder_subject(str(out), dtype="float32")
    assert subject.formats["linear"] == "int3:b16"
    assert subject.formats["embedding"] == "int8:b16"
    assert (subject.labels.format, subject.labels.format_bits, subject.labels.method) == (
        "int3:b16",
        3,
        "nearest",
    )
    asked = folder_subject(str(folder), dtype="float32", weight_format="int3:b16")
    assert subject.labels.stored_bits < asked.labels.stored_bits  # embeddings are packed too
    assert subject.content != asked.content
    with pytest.raises(UsageError, match="is a k-bit model already"):
        folder_subject(str(out), dtype="float32", weight_format="int4:b16")
