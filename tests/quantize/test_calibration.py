"""Whole models calibrated: inputs as they will be, resumed after a kill, and text known again."""

import json

import pytest
import torch

from kbit.corpus import Document
from kbit.errors import ModelError, UsageError
from kbit.models import load, open_model
from kbit.quantize import Calibration, calibration_for, quantize_model
from kbit.quantize.calibration import run as run_module
from kbit.quantize.calibration.blocks import Blocks, compute_in_float32
from kbit.quantize.calibration.hidden import batches
from kbit.quantize.calibration.seen import calibration_documents, check_unseen
from kbit.quantize.calibration.text import calibration_from_documents, document_hash

ARCHITECTURES = ("llama", "gpt2", "qwen2", "opt", "gpt_neox", "mixtral")
ARCHITECTURES += ("mistral", "qwen3", "gemma", "gemma2", "gemma3", "phi", "phi3", "bloom", "qwen2_moe")


def random_text(tokens=600, length=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    windows = [torch.randint(0, 101, (length,), generator=generator) for _ in range(tokens // length)]
    windows.append(torch.randint(0, 101, (7,), generator=generator))
    return Calibration(
        kind="text", windows=tuple(windows), documents=("ab" * 32,), hash="cd" * 32, seed=0, context=length
    )


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tiny.write_model(tmp_path_factory.mktemp(name) / "model", name, dtype=torch.float32)
        return made[name]

    return folder


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_in_turn_are_the_model(folders, name):
    # Two streams of windows, one of them short; the last hidden states through the model's own forward.
    model = load(folders(name))
    made = batches(random_text().windows)
    with torch.inference_mode():
        wanted = [model.base_model(batch.ids, use_cache=False)[0] for batch in made]
    blocks = Blocks(model)
    compute_in_float32(model, blocks.layers)
    for batch, expected in zip(made, wanted, strict=True):
        hidden = blocks.embed(batch.ids)
        for index in range(len(blocks)):
            hidden = blocks.run(index, blocks.copy_of(index), batch.ids, hidden)
        assert torch.allclose(blocks.finish(batch.ids, hidden), expected, atol=1e-5)
    with torch.inference_mode():
        assert torch.equal(model.base_model(made[0].ids, use_cache=False)[0], wanted[0])  # put back as it was


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_linear_layer_in_the_blocks_is_calibrated(folders, name, tmp_path):
    report = quantize_model(
        folders(name), tmp_path / "out", format="int3:b16", method="gptq", calibration=random_text()
    )
    records = open_model(report.out).records
    inside = {n for n, record in records.items() if record.method.name == "gptq"}
    assert inside == set(report.notes)
    outside = {n for n in records if n not in inside}
    assert outside == ({"model.decoder.project_in", "model.decoder.project_out"} if name == "opt" else set())
    assert {records[n].method.name for n in outside} <= {"nearest"}
    every = 15 * 40 + 7
    for layer, note in report.notes.items():
        # The experts of a layer share its tokens out, each token to two of them.
        assert 0 < note.tokens < every if ".experts." in layer else note.tokens == every
        assert note.error < note.nearest_error
    shares: dict[str, int] = {}
    for layer, note in report.notes.items():
        if layer.endswith(".down_proj") and ".experts." in layer:
            block = layer.partition(".experts.")[0]
            shares[block] = shares.get(block, 0) + note.tokens
    assert set(shares.values()) <= {2 * every}
    # What is on disk is what was chosen: the model computes, and its folder names the text.
    load(report.out)(torch.arange(5)[None])
    method = next(iter(records.values())).method
    if name != "opt":
        assert (method.calibration, method.options["tokens"]) == ("cd" * 32, 607)
    assert calibration_documents(report.out) == {"ab" * 32}


def divergence_of(source, folder, calibration):
    original, changed = load(source, dtype=torch.float32), load(folder, dtype=torch.float32)
    total = 0.0
    for batch in batches(calibration.windows):
        with torch.inference_mode():
            p, q = (m(batch.ids).logits.log_softmax(-1) for m in (original, changed))
        total += float((p.exp() * (p - q)).sum())
    return total


def test_calibrated_models_are_nearer_to_the_original(folders, tmp_path):
    source, text = folders("llama"), random_text(2000)
    found = {}
    for method in ("nearest", "importance", "gptq", "descent"):
        folder = quantize_model(
            source,
            tmp_path / method,
            format="int3:b16",
            method=method,
            calibration=None if method == "nearest" else text,
        ).out
        found[method] = divergence_of(source, folder, random_text(2000, seed=9))
    assert found["gptq"] < 0.9 * found["nearest"]
    assert found["importance"] < 0.9 * found["nearest"]
    assert found["descent"] < 0.9 * min(found["gptq"], found["importance"])


def test_an_output_layer_of_its_own_is_calibrated(folders, tmp_path):
    report = quantize_model(
        folders("llama"),
        tmp_path / "out",
        format="nf4:b16",
        head="int3:b16",
        method="descent",
        calibration=random_text(),
    )
    assert report.notes["lm_head"].error < report.notes["lm_head"].nearest_error
    assert len(report.notes) == 15


def entries(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != "cache")


class Killed(BaseException):
    """In place of a kill."""


@pytest.mark.parametrize("at", [1, 6, 12])
def test_a_calibration_cut_off_goes_on_to_the_same_codes(folders, tmp_path, monkeypatch, at):
    settings = {"format": "nf3:b16", "head": "int4:b16", "method": "descent", "calibration": random_text()}
    wanted = quantize_model(folders("llama"), tmp_path / "whole", **settings).out
    plain, calls = run_module.choose_codes, []

    def choose(*args):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return plain(*args)

    monkeypatch.setattr(run_module, "choose_codes", choose)
    with pytest.raises(Killed):
        quantize_model(folders("llama"), tmp_path / "out", **settings)
    assert entries(tmp_path) == [".out.calibration", "whole"]
    calls.append(1)
    before = len(calls)
    got = quantize_model(folders("llama"), tmp_path / "out", **settings).out
    assert (got / "model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()
    assert (got / "calibration.json").read_bytes() == (wanted / "calibration.json").read_bytes()
    done_blocks = (at - 1) // 7
    assert len(calls) - before == 15 - 7 * done_blocks  # finished blocks are not done again
    assert entries(tmp_path) == ["out", "whole"]


def test_other_text_does_not_go_on_with_the_work_of_a_first(folders, tmp_path, monkeypatch):
    settings = {"format": "nf3:b16", "method": "gptq"}
    plain, calls = run_module.choose_codes, []

    def choose(*args):
        calls.append(1)
        if len(calls) == 10:
            raise Killed
        return plain(*args)

    monkeypatch.setattr(run_module, "choose_codes", choose)
    with pytest.raises(Killed):
        quantize_model(folders("llama"), tmp_path / "out", calibration=random_text(seed=1), **settings)
    got = quantize_model(folders("llama"), tmp_path / "out", calibration=random_text(seed=2), **settings).out
    wanted = quantize_model(folders("llama"), tmp_path / "w", calibration=random_text(seed=2), **settings).out
    assert (got / "model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()


class Words:
    """A tokeniser of words."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text, **_):
        return {"input_ids": [3 + len(word) % 90 for word in text.split()]}


def test_windows_begin_with_the_prefix_and_keep_to_the_budget():
    documents = [Document(name=str(i), text=("w" * (i + 1) + " ") * (100 + i)) for i in range(9)]
    made = calibration_from_documents(Words(), documents, context=32, tokens=500, seed=3)
    assert made.tokens == 500
    assert all(int(window[0]) == 1 and 1 < len(window) <= 32 for window in made.windows)
    assert set(made.documents) == {document_hash(d) for d in documents}
    again = calibration_from_documents(Words(), documents[::-1], context=32, tokens=500, seed=3)
    assert again.hash == made.hash  # of the texts as a set, whatever their order
    other = calibration_from_documents(Words(), documents, context=32, tokens=500, seed=4)
    assert other.windows_hash != made.windows_hash
    with pytest.raises(UsageError, match="gives 64 tokens; at least 256 are needed"):
        calibration_from_documents(Words(), [Document(name="a", text="b " * 104)], context=64)
    with pytest.raises(UsageError, match="give at least 256"):
        calibration_from_documents(Words(), documents, context=32, tokens=20)


def test_text_seen_in_calibration_is_refused_or_named():
    seen, new = Document(name="a", text="read before"), Document(name="b", text="never read")
    hashes = {document_hash(Document(name="under another name", text="read before"))}
    assert check_unseen(hashes, [new], allowed=False, option="--x") == []
    with pytest.raises(UsageError, match=r"1 of 2 documents were read .* \(a\).*--x"):
        check_unseen(hashes, [seen, new], allowed=False, option="--x")
    assert check_unseen(hashes, [seen, new], allowed=True, option="--x") == ["a"]


def test_methods_and_text_must_go_together(folders, tmp_path):
    with pytest.raises(UsageError, match="method gptq needs a text"):
        quantize_model(folders("llama"), tmp_path / "o", format="nf4", method="gptq")
    with pytest.raises(UsageError, match="method nearest reads no text"):
        quantize_model(folders("llama"), tmp_path / "o", format="nf4", calibration=random_text())
    (tmp_path / "there").mkdir()
    with pytest.raises(ModelError, match="exists already"):
        quantize_model(
            folders("llama"), tmp_path / "there", format="nf4", method="gptq", calibration=random_text()
        )
    assert entries(tmp_path) == ["there"]


def test_a_damaged_list_of_documents_is_an_error(folders, tmp_path):
    out = quantize_model(
        folders("llama"), tmp_path / "o", format="nf4", method="importance", calibration=random_text()
    ).out
    (out / "calibration.json").write_text("{")
    with pytest.raises(ModelError, match="nobody knows what the model was calibrated on"):
        calibration_documents(out)


def test_a_models_own_text_needs_no_data(tmp_path):
    from kbit import ladder

    rung = ladder.rungs()[0]
    made = calibration_for(rung, None, tokens=400, context=50, seed=1)
    assert (made.kind, made.documents, made.tokens) == ("own", (), 400)
    again = calibration_for(rung, None, tokens=400, context=50, seed=1)
    assert made.hash == again.hash != calibration_for(rung, None, tokens=400, context=50, seed=2).hash
    # Drawn from the model itself, so it finds its text likelier than text drawn from nowhere.
    model = load(rung, dtype=torch.float32)

    def nats(windows):
        with torch.inference_mode():
            return sum(float(model(w[None], labels=w[None]).loss) for w in windows)

    random = [torch.cat([w[:1], torch.randint(0, 2048, (49,))]) for w in made.windows]
    assert nats(made.windows) < 0.8 * nats(random)
    out = quantize_model(rung, tmp_path / "o", format="int3:b32", method="gptq", calibration=made).out
    assert json.loads((out / "calibration.json").read_text())["kind"] == "own"


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_codes_through_a_rotation(folders, name, tmp_path):
    """Moments are rotated with the inputs: the error that is told is that of the weight as it is used."""
    source, text = folders(name), random_text()
    report = quantize_model(
        source, tmp_path / "out", format="int3:b16", method="gptq-rotated", calibration=text
    )
    for note in report.notes.values():
        assert note.error < note.nearest_error
    records = open_model(report.out).records
    assert all(records[layer].rotation is not None for layer in report.notes)
    # The first layer's inputs are the original's: its error follows from both models alone.
    first = next(iter(report.notes))
    seen = []
    original, coded = load(source, dtype=torch.float32), load(report.out, dtype=torch.float32)
    handle = original.get_submodule(first).register_forward_pre_hook(lambda _m, args: seen.append(args[0][0]))
    with torch.inference_mode():
        for window in text.windows:
            original(window[None])
        handle.remove()
        x = torch.cat(seen)
        gap = original.get_submodule(first)(x) - coded.get_submodule(first)(x)
    told = report.notes[first].error
    assert float(gap.square().sum() / len(x)) == pytest.approx(told, rel=1e-3)
