import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kbit.errors import KbitError, ModelError, StudyError
from kbit.formats import parse_format
from kbit.models.record import Method
from kbit.quantize import quantize_model
from kbit.quantize.plan import Choice
from kbit.study import Plan, plan, read_study
from kbit.study.models import family_of, model_facts
from kbit.study.study import Study


def planned(root: Path, **changes: object) -> Plan:
    settings: dict[str, object] = {
        "name": "tiny",
        "models": ("rung-1",),
        "formats": ("bf16", "nf4"),
        "texts": ("held-out.jsonl",),
        "context": 32,
        "folder": root,
    }
    return plan(Study(**(settings | changes)))  # type: ignore[arg-type]


def test_what_is_planned(family: Path) -> None:
    found = plan(read_study(family / "s.toml"))
    labels = [task.label for task in found.tasks]
    assert labels == [
        "kneser-ney-6 on held-out.jsonl",
        "unigram on held-out.jsonl",
        "uniform on held-out.jsonl",
        *(
            f"rung-{i} {form} on held-out.jsonl{against}"
            for i in (1, 2)
            for form, against in (
                ("bf16", ""),
                ("nf4:b64", ""),
                ("nf4:b64", " against 16 bits"),
                ("int3:b32", ""),
                ("int3:b32", " against 16 bits"),
            )
        ),
    ]
    # 3 baselines, and of each model 3 code lengths and 2 comparisons of 2 metrics each.
    assert len(found.keys) == len(set(found.keys)) == 3 + 2 * (3 + 2 * 2)
    assert len({task.group for task in found.tasks}) == 3 + 2


def test_no_weight_is_loaded_to_plan(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a weight was loaded")

    monkeypatch.setattr("kbit.models.safetensors_read.FolderTensors.read_rows", never)
    monkeypatch.setattr("safetensors.torch.load_file", never)
    monkeypatch.setattr("transformers.modeling_utils.PreTrainedModel.from_pretrained", never)
    assert plan(read_study(family / "s.toml")).subjects


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2", "qwen2", "gpt_neox", "mixtral"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_planned_bits_are_the_bits_that_are_written(
    tmp_path: Path, architectures: ModuleType, name: str, dtype: torch.dtype
) -> None:
    architectures.write_model(tmp_path / "m", name, dtype=dtype)
    study = Study(name="s", models=("m",), formats=("bf16",), texts=("t",), folder=tmp_path)
    (facts,) = model_facts(study)
    for i, (form, embeddings) in enumerate(
        [("nf4", None), ("int3:row:fp32", None), ("nf2:flat64", "int8"), ("bf16", "bf16"), ("fp32", "fp32")]
    ):
        head = embeddings if facts.tied or form in ("bf16", "fp32") else None
        given = {"format": form, "embeddings": embeddings, "head": head}
        choice = Choice(
            **{k: parse_format(v) if v else None for k, v in given.items()},
            method=Method(name="nearest", version=1),
        )
        written = quantize_model(tmp_path / "m", tmp_path / f"out-{i}", **given)
        assert facts.stored_bits(choice) == written.stored_bits, form


def test_plan_tells_bytes_and_memory(family: Path, tmp_path: Path) -> None:
    found = planned(family)
    dense, packed = found.subjects
    parameters = dense.parameters
    assert dense.stored_bytes == 2 * parameters
    assert dense.peak_memory_bytes == 4 * parameters  # float32 activations
    written = quantize_model(family / "rung-1", tmp_path / "out", format="nf4").stored_bits
    assert packed.stored_bytes == written.whole // 8
    assert packed.peak_memory_bytes == packed.stored_bytes + dense.peak_memory_bytes
    assert packed.body_bits_per_weight == written.body_bits_per_weight
    alone = planned(family, against_16_bit=False).subjects[1]
    assert alone.peak_memory_bytes == alone.stored_bytes


def identities(found: Plan) -> dict[str, str]:
    return {task.label: task.identity for task in found.tasks if task.subject.kind == "model"}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"name": "another"}, True),
        ({"family": "f", "baselines": ()}, True),
        ({"batch_size": 3}, True),
        ({"formats": ("nf4:b64:fp16", "bf16")}, True),
        ({"stride": 16}, True),
        ({"stride": 8}, False),
        ({"context": 16}, False),
        ({"dtype": "bfloat16"}, False),
    ],
)
def test_what_changes_the_figure_changes_every_identity(
    family: Path, change: dict[str, object], same: bool
) -> None:
    first, second = identities(planned(family)), identities(planned(family, **change))
    assert first.keys() == second.keys()
    assert all((first[label] == second[label]) == same for label in first)


def test_embeddings_change_only_packed_subjects(family: Path) -> None:
    first = identities(planned(family, models=("rung-2",)))
    second = identities(planned(family, models=("rung-2",), embeddings="int8"))
    changed = [label for label in first if first[label] != second[label]]
    assert changed == [label for label in first if "nf4" in label]


def test_a_copied_model_is_the_same_and_another_tokeniser_is_not(family: Path, tmp_path: Path) -> None:
    shutil.copy(family / "held-out.jsonl", tmp_path / "renamed.jsonl")
    shutil.copytree(family / "rung-1", tmp_path / "copy")
    here = list(identities(planned(family)).values())
    there = {"folder": tmp_path, "models": ("copy",), "texts": ("renamed.jsonl",)}
    assert list(identities(planned(family, **there)).values()) == here
    tokenizer = tmp_path / "copy" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"</s>"', '"<end>"'))
    assert not set(identities(planned(family, **there)).values()) & set(here)


def test_algorithm_versions_are_in_the_identity(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identities(planned(family))
    monkeypatch.setattr("kbit.study.subjects.CODER_ALGORITHM", {"measurement": 1, "language-model": 99})
    after = identities(planned(family))
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {label for label in before if "against" not in label}


def test_default_context_is_the_models_own(family: Path) -> None:
    found = planned(family, context=None)
    settings = [t.probe.settings for t in found.tasks if t.subject.kind == "model"]
    assert {(s["context"], s["stride"]) for s in settings} == {(64, 32)}


def test_a_model_stored_in_fp16_is_compared_with_itself(
    tmp_path: Path, family: Path, tiny: ModuleType
) -> None:
    tiny.model(1).to(torch.float16).save_pretrained(tmp_path / "half")
    tiny.tokenizer().save_pretrained(tmp_path / "half")
    found = planned(family, models=(str(tmp_path / "half"),), formats=("bf16", "fp16", "nf4"))
    against = {t.subject.labels.format: t.probe.against for t in found.tasks if t.probe.against}
    assert set(against) == {"bf16", "nf4:b64"}
    assert {subject.formats["linear"] for subject in against.values()} == {"fp16"}
    assert found.subjects[0].format == "fp16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formats": ("nf44",)}, "formats: .*nf44.*did you mean"),
        ({"formats": ("nf4", "nf4:b64")}, "nf4 and nf4:b64 are one format"),
        ({"embeddings": "nf99"}, "embeddings: "),
        ({"methods": ("nearst",)}, "methods: .*did you mean 'nearest'"),
        ({"baselines": ("kneser",)}, "no baseline is called 'kneser'"),
        ({"models": ("./none",)}, "no model folder .*none"),
        ({"models": ("rung-1", "./rung-1")}, "are the same model"),
        ({"models": ("ladder:rung-99",)}, "no model 'ladder:rung-99'"),
        ({"texts": ("none.txt",)}, "no such text"),
        ({"texts": ("ladder:hold-out",)}, "did you mean 'ladder:held-out'"),
        ({"texts": ("held-out.jsonl", "./held-out.jsonl")}, "hold the same documents"),
        ({"texts": ("empty.txt",)}, "is empty"),
    ],
)
def test_what_cannot_be_planned_is_told(family: Path, change: dict[str, object], message: str) -> None:
    (family / "empty.txt").touch()
    with pytest.raises(KbitError, match=message):
        planned(family, **change)


def test_a_kbit_folder_and_a_truncated_one_are_refused(family: Path, tmp_path: Path) -> None:
    quantize_model(family / "rung-1", tmp_path / "packed", format="nf4")
    with pytest.raises(StudyError, match="k-bit model already"):
        planned(family, models=(str(tmp_path / "packed"),))
    shutil.copytree(family / "rung-1", tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated"):
        planned(family, models=(str(tmp_path / "cut"),))


@pytest.mark.parametrize(
    ("name", "family_name"),
    [
        ("pythia-160m", "pythia"),
        ("org/opt-1.3b", "org/opt"),
        ("rung-7", "rung"),
        ("tiny", "tiny"),
        ("70b", "70b"),
    ],
)
def test_family_of(name: str, family_name: str) -> None:
    assert family_of(name) == family_name


def test_the_study_file_names_paths_from_where_it_lies(
    family: Path, study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    file = study_file("elsewhere.toml", models=["./rung-1"], formats=["bf16"])
    assert [s.model for s in plan(read_study(file)).subjects] == ["rung-1"]
