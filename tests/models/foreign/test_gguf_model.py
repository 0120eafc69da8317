"""A GGUF file is the model it was made of, for every architecture; its bits are those of the file."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from kbit.errors import MissingExtraError, ModelError
from kbit.models import load, load_tokenizer, open_model, stored_bits
from kbit.models.foreign.gguf_config import ARCHITECTURES
from kbit.models.foreign.gguf_header import read_gguf
from kbit.models.foreign.gguf_names import NAMES
from kbit.models.foreign.gguf_types import GGUF_TYPES
from kbit.quantize import quantize_model

HAS_GGUF = importlib.util.find_spec("gguf") is not None
needs_gguf = pytest.mark.skipif(not HAS_GGUF, reason="llama.cpp's gguf package is not installed")
MODELS = ("llama", "llama-tied", "llama-linear", "mixtral", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma")
MODELS += ("gemma2", "gemma3", "phi2", "phi3", "gpt2", "gptneox", "bloom")
TOKENS = torch.tensor([[1, 5, 99, 5, 42, 7, 100, 3, 250, 17, 8, 9]])


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_logits_are_those_of_the_model_it_was_made_of(ggufs, tmp_path, name):
    model, file = ggufs.make(name), tmp_path / "model.gguf"
    ggufs.write(file, name, model)
    found = load(file)
    state, wanted = found.state_dict(), model.state_dict()
    assert state.keys() == wanted.keys()
    for key, tensor in wanted.items():
        # Gemma's norms are stored plus one, which rounds.
        close = {"rtol": 0, "atol": 3e-7} if name.startswith("gemma") else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(state[key], tensor, **close, msg=key)
    with torch.no_grad():
        torch.testing.assert_close(found(TOKENS).logits, model(TOKENS).logits, rtol=1e-4, atol=1e-5)
    parameters = sum(p.numel() for p in model.parameters())
    bits = stored_bits(file)
    assert (bits.weights, bits.whole) == (parameters, 32 * parameters)
    assert open_model(file).parameters == parameters
    assert open_model(file).body_parameters == bits.body_weights


def test_every_architecture_has_names_and_a_test():
    assert set(NAMES) == set(ARCHITECTURES)
    assert {name.split("-")[0] for name in MODELS} - {"mixtral"} == set(ARCHITECTURES)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16", "F16"])
def test_logits_are_those_of_the_decoded_numbers_and_bits_those_of_blocks(ggufs, tmp_path, kind):
    model, file = ggufs.make("qwen3"), tmp_path / "model.gguf"
    stored = ggufs.write(file, "qwen3", model, kind)
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    body = embeddings = 0
    for name, array in stored.items():
        bits = 8 * array.size * size // block if array.ndim > 1 else 32 * array.size
        if name in ("token_embd.weight", "output.weight"):
            embeddings += bits
        else:
            body += bits
    found = stored_bits(file)
    assert (found.body, found.embeddings) == (body, embeddings)
    assert open_model(file).foreign_format == f"gguf:{kind.lower()}"
    state = model.state_dict()
    for layer in range(2):
        stored_up = torch.from_numpy(stored[f"blk.{layer}.ffn_up.weight"].copy())
        state[f"model.layers.{layer}.mlp.up_proj.weight"].copy_(stored_up)
    found_up = load(file).state_dict()["model.layers.1.mlp.up_proj.weight"]
    assert torch.equal(found_up, state["model.layers.1.mlp.up_proj.weight"])


def test_the_factors_of_llama_3_scale_its_rotary_frequencies(ggufs, tmp_path):
    import gguf
    from transformers import AutoModelForCausalLM, LlamaConfig

    rope = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
    settings = {k: v for k, v in ggufs.MODELS["llama"].items() if k != "model_type"}
    plain = ggufs.make("llama")
    scaled = AutoModelForCausalLM.from_config(
        LlamaConfig(**settings, vocab_size=ggufs.VOCABULARY, rope_parameters=rope), dtype=torch.float32
    ).eval()
    scaled.load_state_dict(plain.state_dict())
    factors = plain.model.rotary_emb.inv_freq / scaled.model.rotary_emb.inv_freq
    assert factors.max() == 8
    original = ggufs.converted
    try:
        ggufs.converted = lambda *a: {**original(*a), "rope_freqs.weight": factors.numpy()}
        ggufs.write(tmp_path / "m.gguf", "llama", plain)
    finally:
        ggufs.converted = original
    assert gguf  # the reader below is kbit's own
    with torch.no_grad():
        wanted, without = scaled(TOKENS).logits, plain(TOKENS).logits
        found = load(tmp_path / "m.gguf")(TOKENS).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert (wanted - without).abs().max() > 1e-3


@needs_gguf
@pytest.mark.parametrize("row", [r for r in GGUF_TYPES.values() if not r.plain], ids=lambda r: r.name)
def test_every_type_decodes_in_slices_as_llama_cpps_package_decodes_it(ggufs, tmp_path, row, monkeypatch):
    import gguf

    from kbit.models.foreign import gguf_read

    code = gguf.GGMLQuantizationType(row.code)
    assert (row.name, row.block, row.block_bytes) == (code.name, *gguf.GGML_QUANT_SIZES[code])
    raw = np.random.default_rng(row.code).integers(0, 256, (6, 2 * row.block_bytes), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("w", raw, raw_dtype=code)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    monkeypatch.setattr(gguf_read, "SLICE_WEIGHTS", 5 * row.block)
    file = read_gguf(tmp_path / "m.gguf")
    assert file.tensors["w"].shape == (6, 2 * row.block)
    assert file.tensors["w"].size_bytes == raw.size
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(raw, code)
    np.testing.assert_array_equal(gguf_read.read_tensor(file, "w").numpy(), wanted)


def test_the_tokeniser_is_in_the_file(ggufs, tmp_path):
    ggufs.write(tmp_path / "m.gguf", "qwen2", ggufs.make("qwen2"))
    tokenizer = load_tokenizer(tmp_path / "m.gguf")
    ids = tokenizer("hello world né", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[:4] == ["hello", "Ġwor", "l", "d"]
    assert tokenizer.decode(ids) == "hello world né"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin|>", "<|endoftext|>")


def test_measure_and_study_take_the_file(ggufs, tmp_path, capsys):
    from kbit.cli.app import run as command
    from kbit.store import open_store
    from kbit.study import plan, read_study, run

    file, text = tmp_path / "tiny.gguf", tmp_path / "held-out.jsonl"
    ggufs.write(file, "llama", ggufs.make("llama"), "Q8_0")
    text.write_text("".join(json.dumps({"text": f"hello world number {i}"}) + "\n" for i in range(4)))
    assert command(["measure", str(file), "--text", str(text), "--baselines", "uniform", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    bits = stored_bits(file)
    assert (found["stored_as"], found["stored_bits"]) == ("gguf:q8_0", bits.whole)
    assert found["stored_bits_body"] + found["stored_bits_embeddings"] == bits.whole
    assert found["body_bits_per_weight"] == pytest.approx(bits.body_bits_per_weight)
    (tmp_path / "study.toml").write_text(
        f'name = "s"\nmodels = ["tiny.gguf"]\nformats = ["bf16", "nf4:b64"]\ntexts = ["{text.name}"]\n'
        "[coder]\ncontext = 32\nstride = 16\n"
    )
    planned = plan(read_study(tmp_path / "study.toml"))
    (subject,) = planned.subjects
    assert (subject.model, subject.format, subject.method) == ("tiny", "gguf:q8_0", None)
    assert subject.stored_bytes == bits.whole // 8
    with open_store(str(tmp_path / "s.sqlite"), create=True) as store:
        result = run(planned, store)
        assert (result.failed, result.done) == (0, result.total)
        rows = [r for r in store.rows() if r["model"] == "tiny"]
    assert {r["stored_bits"] for r in rows} == {bits.whole}
    assert sum(r["numerator"] for r in rows if r["metric"] == "bits_per_byte") == pytest.approx(found["bits"])


def test_what_cannot_be_done_is_said(ggufs, tmp_path):
    file = tmp_path / "m.gguf"
    ggufs.write(file, "llama", ggufs.make("llama"))
    with pytest.raises(ModelError, match="is a GGUF file, which kbit measures as it is"):
        quantize_model(file, tmp_path / "out", format="nf4")
    ggufs.write(file, "llama", ggufs.make("llama"), **{"llama.rope.scaling.type": "yarn"})
    with pytest.raises(ModelError, match=r"scaled as 'yarn'.*Measure the original"):
        load(file)
    original = ggufs.converted
    cases = {
        "has no tensor 'token_embd.weight'": lambda t: {
            k: v for k, v in t.items() if k != "token_embd.weight"
        },
        "lacks model.norm.weight": lambda t: {k: v for k, v in t.items() if k != "output_norm.weight"},
        "'blk.0.attn_sinks.weight', for which kbit has no place": lambda t: (
            t | {"blk.0.attn_sinks.weight": t["blk.0.attn_norm.weight"]}
        ),
    }
    for message, change in cases.items():
        try:
            ggufs.converted = lambda *a, change=change: change(original(*a))
            ggufs.write(file, "llama", ggufs.make("llama"))
        finally:
            ggufs.converted = original
        with pytest.raises(ModelError, match=message):
            load(file)


def test_without_the_gguf_package_the_extra_is_named(ggufs, tmp_path, monkeypatch):
    ggufs.write(tmp_path / "m.gguf", "llama", ggufs.make("llama"))
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    assert stored_bits(tmp_path / "m.gguf").whole > 0  # needs no package
    with pytest.raises(MissingExtraError, match=r"kbit\[gguf\]"):
        load(tmp_path / "m.gguf")
