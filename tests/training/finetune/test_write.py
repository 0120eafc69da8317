"""What is written is what was trained: adapters, merged models, merged models at a format."""

import json

import pytest
import torch

from kbit.corpus.document import Document
from kbit.errors import ModelError, TrainingError
from kbit.models import generate, load, load_tokenizer, open_model, stored_bits
from kbit.models.decode import unserved
from kbit.quantize import quantize_model
from kbit.training.finetune import Tuning, finetune, held_out_share

TUNING = Tuning(rank=4, epochs=3, batch_examples=8, learning_rate=5e-3, precision="fp32")
IDS = torch.arange(2, 40)[None]


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


@pytest.fixture(scope="module")
def adapter(packed, completions, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("adapter") / "out"
    made = finetune(packed, completions[:36], completions[36:], TUNING, out)
    return out, made.record


def test_an_adapter_is_a_model_for_all_of_kbit(adapter, packed):
    out, record = adapter
    assert {file.name for file in out.iterdir()} >= {
        "adapter_model.safetensors",
        "finetune.json",
        "tokenizer.json",
    }
    assert not (out / "config.json").exists()
    model = load(out, dtype=torch.float32)
    base = load(packed, dtype=torch.float32)
    assert not torch.equal(logits(model), logits(base))
    opened = open_model(out)
    assert opened.parameters == open_model(packed).parameters + record["trained_parameters"]
    assert stored_bits(out).whole == stored_bits(packed).whole + 32 * record["trained_parameters"]
    assert opened.content_hash != open_model(packed).content_hash
    assert "adapter" in unserved(model)
    made = generate(model, load_tokenizer(out), "red and blue:", max_new_tokens=4, temperature=0)
    assert made.engine == "transformers"
    from kbit.coders import LanguageModelCoder

    coder = LanguageModelCoder(model, load_tokenizer(out), name="it")
    (length,) = coder.code_lengths([Document(name="a", text="red and blue: blue red")])
    (other,) = LanguageModelCoder(base, load_tokenizer(out), name="base").code_lengths(
        [Document(name="a", text="red and blue: blue red")]
    )
    assert length.bits < other.bits


def test_peft_reads_it_too(adapter, packed):
    peft = pytest.importorskip("peft")
    out, _ = adapter
    theirs = peft.PeftModel.from_pretrained(load(packed, dtype=torch.float32), str(out)).eval()
    assert torch.equal(logits(load(out, dtype=torch.float32)), logits(theirs))


def test_the_record_tells_the_gain(adapter):
    _, record = adapter
    held = record["held_out"]
    assert held["gain_bits_per_byte"] == pytest.approx(held["bits_per_byte_before"] - held["bits_per_byte"])
    assert held["gain_ci95"][0] > 0
    assert record["memory"]["total_bytes"] > 0
    assert record["labels"] == {}


def test_what_is_finished_is_kept_and_other_settings_are_refused(adapter, packed, completions):
    out, record = adapter
    again = finetune(packed, completions[:36], completions[36:], TUNING, out)
    assert again.done_before
    assert again.record == json.loads(json.dumps(record))
    with pytest.raises(ModelError, match="exists already"):
        finetune(packed, completions[:30], completions[36:], TUNING, out)


def test_another_base_is_refused(adapter, packed, tmp_path, rung):
    import shutil

    out, _ = adapter
    moved = shutil.copytree(out, tmp_path / "moved")
    config = json.loads((moved / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(rung)
    (moved / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="trained beside another model"):
        load(moved)


def test_an_adapter_is_no_model_where_weights_are_needed(adapter, tmp_path, completions):
    out, _ = adapter
    with pytest.raises(ModelError, match="holds an adapter"):
        quantize_model(out, tmp_path / "q", format="nf4:b64")
    with pytest.raises(ModelError, match="adapter already"):
        finetune(out, completions[:36], completions[36:], TUNING, tmp_path / "again")


@pytest.mark.parametrize("base", ["rung", "packed"])
def test_merged_computes_the_same(base, request, completions, tmp_path):
    model = request.getfixturevalue(base)
    finetune(model, completions[:36], completions[36:], TUNING, tmp_path / "a")
    finetune(model, completions[:36], completions[36:], TUNING, tmp_path / "m", merge=True)
    ours, merged = load(tmp_path / "a", dtype=torch.float32), load(tmp_path / "m", dtype=torch.float32)
    assert open_model(tmp_path / "m").records == {}
    assert unserved(merged) is None
    difference = (logits(ours) - logits(merged)).abs().max()
    moved = (logits(ours) - logits(load(model, dtype=torch.float32))).abs().max()
    assert difference < 0.05 * moved  # weights rounded to bfloat16


def test_merged_and_quantised(packed, completions, tmp_path):
    finetune(packed, completions[:36], completions[36:], TUNING, tmp_path / "m", merge=True)
    finetune(
        packed,
        completions[:36],
        completions[36:],
        TUNING,
        tmp_path / "k",
        merge=True,
        weight_format="int6:b64",
    )
    quantize_model(tmp_path / "m", tmp_path / "by-hand", format="int6:b64")
    assert open_model(tmp_path / "k").content_hash == open_model(tmp_path / "by-hand").content_hash
    assert json.loads((tmp_path / "k" / "finetune.json").read_text())["format"] == "int6:b64"
    assert torch.equal(logits(load(tmp_path / "k")), logits(load(tmp_path / "by-hand")))


def test_all_weights_of_a_model(rung, labelled, tmp_path):
    made = finetune(
        rung, labelled, labelled[:8], Tuning(method="full", epochs=4, batch_examples=4), tmp_path / "full"
    )
    assert made.record["labels"] == {"no": 4, "yes": 12}
    assert made.record["trained_parameters"] == open_model(rung).parameters
    assert made.record["held_out"]["loss"] < made.record["held_out"]["loss_before"]
    assert load(tmp_path / "full").dtype == torch.bfloat16
    with pytest.raises(TrainingError, match="merge the adapter too"):
        finetune(rung, labelled, labelled[:8], TUNING, tmp_path / "x", weight_format="nf4:b64")


def test_labels_that_training_never_shows_are_refused(rung, labelled, tmp_path):
    from dataclasses import replace

    odd = replace(labelled[0], label="maybe", source="held.jsonl:9")
    with pytest.raises(TrainingError, match=r"held.jsonl:9: has the label 'maybe'"):
        finetune(rung, labelled, [odd], TUNING, tmp_path / "x")
    with pytest.raises(TrainingError, match=r"rooms.jsonl:4 and all others have the label 'no'"):
        finetune(rung, [e for e in labelled if e.label == "no"], labelled[3:4], TUNING, tmp_path / "x")


def test_equal_questions_are_held_out_together(completions):
    kept, held = held_out_share(completions, 0.3)
    assert len(kept) + len(held) == len(completions)
    assert not {e.prompt for e in kept} & {e.prompt for e in held}
    with pytest.raises(TrainingError, match="remain for training"):
        held_out_share(completions[:1], 0.5)
