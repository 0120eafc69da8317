"""Whole models: what is packed, what is kept, and every way it can go wrong."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from kbit.errors import FormatError, ModelError, UsageError
from kbit.formats import encode, parse_format
from kbit.models import load, open_model
from kbit.quantize import listing, quantize_model


@pytest.fixture(scope="module")
def llama(tiny, tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("llama") / "model", "llama")


def change(folder, **tensors):
    """Rewrite some tensors of a folder; None removes one."""
    file = folder / "model.safetensors"
    state = {n: t for n, t in (load_file(file) | tensors).items() if t is not None}
    save_file(state, file, {"format": "pt"})


@pytest.fixture
def copy(llama, tmp_path):
    return shutil.copytree(llama, tmp_path / "copy")


def entries(folder):
    return sorted(p.name for p in folder.iterdir())


def test_codes_are_those_of_encode_and_the_rest_is_unchanged(llama, tmp_path):
    out = quantize_model(llama, tmp_path / "out", format="nf4:b32").out
    before, after = load_file(llama / "model.safetensors"), load_file(out / "model.safetensors")
    packed = 0
    for name, tensor in before.items():
        if name in after:
            assert torch.equal(after[name], tensor)
            assert after[name].dtype == tensor.dtype
            continue
        packed += 1
        layer = name.removesuffix(".weight")
        for part, stored in encode(tensor, parse_format("nf4:b32")).parts().items():
            assert torch.equal(after[f"{layer}.{part}"], stored)
    assert packed == 14


def test_gpt2s_transposed_layers_are_coded_by_output(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "gpt2")
    out = quantize_model(source, tmp_path / "out", format="int4:b16").out
    weight = load_file(source / "model.safetensors")["transformer.h.0.mlp.c_fc.weight"]
    assert weight.shape == (40, 160)
    record = open_model(out).records["transformer.h.0.mlp.c_fc"]
    assert (record.shape, record.transposed) == ((160, 40), True)
    codes = load_file(out / "model.safetensors")["transformer.h.0.mlp.c_fc.codes"]
    assert torch.equal(codes, encode(weight.T.contiguous(), record.format).codes)


def test_old_names_without_the_prefix_are_understood(tiny, tmp_path):
    # As OpenAI's own GPT-2 files: no `transformer.`, masks among the weights.
    source = tiny.write_model(tmp_path / "model", "gpt2")
    new = quantize_model(source, tmp_path / "new", format="nf4:b64").out
    state = load_file(source / "model.safetensors")
    state = {n.removeprefix("transformer."): t for n, t in state.items()}
    state["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    save_file(state, source / "model.safetensors", {"format": "pt"})
    old = quantize_model(source, tmp_path / "old", format="nf4:b64").out
    assert open_model(old).content_hash == open_model(new).content_hash


def test_shards_give_the_same_model(llama, tmp_path):
    load(llama).save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    outs = [quantize_model(s, tmp_path / f"o{i}", format="int3").out for i, s in
            enumerate((llama, tmp_path / "shards"))]  # fmt: skip
    assert open_model(outs[0]).content_hash == open_model(outs[1]).content_hash


def test_float32_goes_to_bfloat16_and_float16_stays(tiny, tmp_path):
    for given, kept in ((torch.float32, torch.bfloat16), (torch.float16, torch.float16)):
        source = tiny.write_model(tmp_path / str(given), "llama", dtype=given)
        out = quantize_model(source, tmp_path / f"{given}-k", format="nf4:b64").out
        assert load_file(out / "model.safetensors")["model.norm.weight"].dtype == kept
        assert open_model(out).config["dtype"] == str(kept).removeprefix("torch.")
        assert load(out).dtype == kept


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_plain_format_is_a_copy(llama, tmp_path, name, dtype):
    report = quantize_model(llama, tmp_path / "out", format=name)
    before, after = (load_file(f / "model.safetensors") for f in (llama, report.out))
    assert all(torch.equal(after[n], t.to(dtype)) for n, t in before.items())
    assert report.packed_layers == 0
    assert "quantization_config" not in open_model(report.out).config
    assert load(report.out).dtype == dtype


def test_what_is_kept_is_listed_with_its_bits(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "mixtral", "mixtral")
    report = quantize_model(source, tmp_path / "out", format="nf4:b64")
    reasons = {kept.name: kept.reason for kept in report.kept}
    assert reasons.pop("lm_head.weight") == "output layer"
    assert reasons.pop("model.embed_tokens.weight") == "embedding"
    gates = {n: r for n, r in reasons.items() if "gate.weight" in n}
    assert set(gates.values()) == {"not a linear layer"}
    assert reasons.keys() == gates.keys()
    assert len(gates) == 2
    assert report.packed_layers == 2 * (4 + 3 * 3)  # attention, and three experts of three projections
    norms = 16 * 5 * 32
    stored = load_file(report.out / "model.safetensors").items()
    packed = sum(8 * t.nbytes for n, t in stored if n.endswith(("codes", "scales")))
    assert report.stored_bits.whole == packed + norms + sum(kept.stored_bits for kept in report.kept)


def test_layers_asked_for_are_kept(llama, tmp_path):
    report = quantize_model(
        llama, tmp_path / "o", format="nf4", keep=["*.down_proj", "model.layers.0.*.q_proj"]
    )
    asked = {kept.name for kept in report.kept if kept.reason == "asked for"}
    assert asked == {
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.0.self_attn.q_proj.weight",
    }
    assert report.packed_layers == 11
    load(report.out)


def test_a_head_held_apart_from_a_tied_embedding_is_not_tied(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "llama-tied")
    embedding = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    change(source, **{"lm_head.weight": embedding + 1})
    report = quantize_model(source, tmp_path / "out", format="nf4:b64", embeddings="int8", head="nf5")
    assert report.untied
    model = load(report.out, dtype=torch.float32)
    head, table = model.lm_head.weight, model.model.embed_tokens.weight
    assert 0.9 < float((head - table).mean()) < 1.1


def test_a_tied_tensor_under_the_heads_name_is_understood(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "llama-tied")
    wanted = quantize_model(source, tmp_path / "a", format="nf4", embeddings="int8").out
    embedding = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    change(source, **{"lm_head.weight": embedding, "model.embed_tokens.weight": None})
    got = quantize_model(source, tmp_path / "b", format="nf4", embeddings="int8").out
    assert open_model(got).content_hash == open_model(wanted).content_hash


def test_a_tied_model_has_one_format_for_embedding_and_head(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "llama-tied")
    with pytest.raises(UsageError, match=r"ties its output layer.*give embeddings=nf4:b64"):
        quantize_model(source, tmp_path / "out", format="nf4", head="nf4")
    quantize_model(source, tmp_path / "out", format="nf4", head="nf4", embeddings="nf4")


def refuse(kind, says, source, out, **settings):
    before = entries(out.parent)
    with pytest.raises(kind, match=says):
        quantize_model(source, out, **{"format": "nf4:b64"} | settings)
    assert entries(out.parent) == before  # nothing half written, nothing removed


def test_output_must_not_be_or_touch_the_input(copy, tmp_path):
    refuse(ModelError, "is the model that is read", copy, copy, overwrite=True)
    link = tmp_path / "link"
    link.symlink_to(copy)
    refuse(ModelError, "is the model that is read", copy, link, overwrite=True)
    refuse(ModelError, "is the model that is read", link, copy, overwrite=True)
    refuse(ModelError, "lie in each other", copy, copy / "inside")


def test_an_output_that_exists_is_left_alone(llama, tmp_path):
    out = quantize_model(llama, tmp_path / "out", format="nf4:b64").out
    refuse(ModelError, "exists already", llama, out, format="int8")
    assert str(open_model(out).records["model.layers.0.mlp.up_proj"].format) == "nf4:b64"
    quantize_model(llama, out, format="int8", overwrite=True)
    assert str(open_model(out).records["model.layers.0.mlp.up_proj"].format) == "int8:b64"
    assert entries(tmp_path) == ["out"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"])
def test_a_bad_weight_is_named_with_its_place(copy, tmp_path, name, value):
    weight = load_file(copy / "model.safetensors")[name]
    weight[3, 7] = value
    change(copy, **{name: weight})
    refuse(ModelError, rf"'{name}' holds {value} at \[3, 7\]", copy, tmp_path / "out")


def test_tensors_must_be_the_architectures(copy, tmp_path):
    out = tmp_path / "out"
    extra = "model.layers.2.mlp.up_proj.weight"
    change(copy, **{extra: torch.zeros(3, 3)})
    refuse(ModelError, f"1 tensors have no place in LlamaForCausalLM, such as '{extra}'", copy, out)
    change(copy, **{extra: None, "model.norm.weight": None})
    refuse(ModelError, "1 tensors of LlamaForCausalLM are missing, such as 'model.norm.weight'", copy, out)
    change(copy, **{"model.norm.weight": torch.zeros(47).bfloat16()})
    refuse(ModelError, r"'model.norm.weight' is \[47\], and config.json makes it \[48\]", copy, out)
    change(copy, **{"model.norm.weight": torch.zeros(48).to(torch.float8_e4m3fn)})
    refuse(ModelError, "quantised already", copy, out)


def test_experts_that_are_not_all_there_are_found(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "mixtral", "mixtral")
    lost = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    change(source, **{lost: None})
    refuse(ModelError, "Some are missing", source, tmp_path / "out")


def test_a_truncated_shard_is_found_before_anything_is_written(copy, tmp_path):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    refuse(ModelError, "truncated", copy, tmp_path / "out")


def test_a_disk_that_becomes_full_leaves_nothing(llama, tmp_path, monkeypatch):
    plain, calls = os.pwrite, []

    def pwrite(descriptor, data, offset):
        calls.append(len(data))
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    refuse(ModelError, "the disk became full", llama, tmp_path / "out")
    assert len(calls) == 10
    assert entries(tmp_path) == []


def test_short_writes_are_completed(llama, tmp_path, monkeypatch):
    wanted = quantize_model(llama, tmp_path / "a", format="nf4:b64").out
    plain = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda d, data, offset: plain(d, data[:1000], offset))
    got = quantize_model(llama, tmp_path / "b", format="nf4:b64").out
    assert (got / "model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()


def test_what_is_no_16_bit_model_is_refused(llama, tmp_path, copy):
    out = tmp_path / "out"
    refuse(ModelError, "no such folder", tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    refuse(ModelError, "no config.json", tmp_path / "empty", out)
    config = json.loads((copy / "config.json").read_text())
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    refuse(ModelError, "only as pickle", copy, out)
    (copy / "pytorch_model.bin").rename(copy / "model.safetensors")
    for change_, says in (
        ({"model_type": "no-such"}, "Transformers cannot read its config"),
        ({"model_type": "vit"}, "is no causal language model"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "brings its own code"),
        ({"hidden_size": "many"}, "config"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"quantised already \(gptq\)"),
    ):
        (copy / "config.json").write_text(json.dumps(config | change_))
        refuse(ModelError, says, copy, out)
    (copy / "config.json").write_text("{")
    refuse(ModelError, "cannot be read as JSON", copy, out)
    packed = quantize_model(llama, tmp_path / "packed", format="nf4:b64").out
    refuse(ModelError, r"quantised already \(kbit\)", packed, out)


def test_wrong_words_are_answered(llama, tmp_path):
    out = tmp_path / "out"
    refuse(FormatError, "no data type 'nf44'", llama, out, format="nf44")
    refuse(UsageError, "no method 'nearst': did you mean 'nearest'", llama, out, method="nearst")
    refuse(UsageError, r"keep '\*.up_porj' fits no layer", llama, out, keep=["*.up_porj"])


def test_weights_beyond_a_16_bit_type_are_an_error(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "llama", dtype=torch.float32)
    weight = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    weight[0, 0] = 1e6
    change(source, **{"model.embed_tokens.weight": weight})
    refuse(ModelError, "weights of up to 1e.06, beyond torch.float16", source, tmp_path / "o", format="fp16")
    quantize_model(source, tmp_path / "o", format="bf16")


def test_methods_are_listed():
    names = [row["name"] for row in listing()]
    assert names[0] == "nearest"
    assert {"scale-search", "rotate", "rotate-search", "proxy1", "importance", "gptq", "descent"} < set(names)
    calibrated = [row["name"] for row in listing() if row["calibrated"]]
    assert calibrated == ["importance", "gptq", "gptq-rotated", "descent-rotated", "descent"]
    assert {"what", "source", "version"} <= listing()[0].keys()


MEMORY = """
import resource, sys
from kbit.quantize import quantize_model
import kbit.models.load, transformers
quantize_model(sys.argv[2], sys.argv[3] + "-warm", format="nf4:b64")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
quantize_model(sys.argv[1], sys.argv[3], format="nf4:b64")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tiny, llama, tmp_path):
    # 113 MB in tensors of at most 4 MB: one tensor, its codes and what a slice needs are held at a time.
    big = tmp_path / "big"
    settings = {"hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 6, "head_dim": 256}
    tiny.write_model(big, "llama", **settings)
    size = (big / "model.safetensors").stat().st_size
    assert size > 110e6
    command = [sys.executable, "-c", MEMORY, str(big), str(llama), str(tmp_path / "out")]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 45e6, f"grew by {grown} bytes for a model of {size}"
