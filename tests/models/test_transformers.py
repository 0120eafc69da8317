"""The traps of Transformers, one by one."""

import copy
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.trainer_utils import validate_quantization_for_training

import kbit.hf
from kbit.errors import ModelError
from kbit.formats import encode, parse_format
from kbit.models import KbitEmbedding, KbitLinear, KbitTiedHead, LayerRecord, Method, load, stored_bits
from kbit.models.stored_weight import StoredWeight
from kbit.quantize import quantize_model

TOKENS = torch.tensor([[1, 5, 99, 5, 42, 7, 100, 3]])


@pytest.fixture(scope="module")
def source(tiny, tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("source") / "model", "llama-tied")


@pytest.fixture(scope="module")
def folder(source):
    """Tied, with the embedding packed."""
    return quantize_model(source, source.parent / "k", format="uint4:b32", embeddings="int8:b32").out


def linear(rows=6, columns=70, fmt="nf4:b64", bias=True):
    record = LayerRecord(
        name="layer",
        shape=(rows, columns),
        role="linear",
        format=parse_format(fmt),
        method=Method(name="nearest", version=1),
    )
    layer = KbitLinear(record, bias=bias, dtype=torch.float32)
    layer.fill(encode(torch.randn(rows, columns), record.format))
    if bias:
        torch.nn.init.normal_(layer.bias)
    return layer


def test_stored_parts_are_parameters_that_want_no_gradient(folder):
    model = load(folder)
    layers = [m for m in model.modules() if isinstance(m, StoredWeight)]
    stored = [p for layer in layers for n, p in layer.named_parameters() if n != "bias"]
    assert len(layers) == 15
    assert len(stored) == 14 * 3 + 2
    assert not any(p.requires_grad or p.is_floating_point() for p in stored)
    # Parameters are counted and moved; buffers would be left out.
    assert model.num_parameters() == sum(p.numel() for p in model.parameters())
    bits = 8 * model.get_memory_footprint(return_buffers=False)
    assert bits == stored_bits(folder).whole


def test_names_in_the_state_dict_are_those_in_the_file(folder):
    model = load(folder)
    in_file = load_file(folder / "model.safetensors")
    assert model.state_dict().keys() == in_file.keys()
    assert not any(".weight." in name for name in in_file)


@pytest.mark.parametrize("fmt", ["nf4:b64", "uint3:b32:fp32", "int8:row:bf16"])
def test_casts_move_but_never_widen(fmt):
    layer = linear(fmt=fmt)
    before = {n: t.clone() for n, t in layer.parts().items()}
    x = torch.randn(2, 70)
    y = layer(x)
    for cast in (
        lambda m: m.to(torch.bfloat16),
        lambda m: m.half(),
        lambda m: m.double(),
        lambda m: m.type(torch.float32),
        lambda m: m.float(),
    ):
        cast(layer)
        for name, tensor in layer.parts().items():
            assert tensor.dtype == before[name].dtype
            assert torch.equal(tensor, before[name])
    assert layer.bias.dtype == torch.float32
    torch.testing.assert_close(layer(x), y, rtol=2e-2, atol=2e-2)  # the bias went through bfloat16


def test_a_model_cast_to_float32_keeps_its_size_and_computes_in_float32(folder):
    model = load(folder)
    assert model.dtype == torch.bfloat16
    codes = {n: p.clone() for n, p in model.named_parameters() if not p.is_floating_point()}
    model.to(torch.float32)
    assert model.dtype == torch.float32
    assert model.get_input_embeddings()(TOKENS).dtype == torch.float32
    for name, parameter in model.named_parameters():
        if name in codes:
            assert parameter.dtype == codes[name].dtype
            assert torch.equal(parameter, codes[name])
    with torch.no_grad():
        wanted = load(folder, dtype=torch.float32)(TOKENS).logits
        torch.testing.assert_close(model(TOKENS).logits, wanted, rtol=1e-2, atol=1e-2)


def test_the_models_dtype_is_not_that_of_its_scales(source, tmp_path):
    out = quantize_model(source, tmp_path / "o", format="nf4:b64:fp32", embeddings="nf4:b64:fp32").out
    assert load(out).dtype == torch.bfloat16
    assert load(out, dtype=torch.float16).dtype == torch.float16


def test_an_embedding_unpacks_only_the_rows_asked_for(folder, monkeypatch):
    embedding = load(folder).get_input_embeddings()
    assert isinstance(embedding, KbitEmbedding)
    asked = []
    from kbit.models import embedding as module

    plain = module.decode
    monkeypatch.setattr(module, "decode", lambda p, d, rows: asked.append(rows) or plain(p, d, rows=rows))
    rows = embedding(torch.tensor([[7, 7, 3], [7, 3, 3]]))
    assert asked[0].tolist() == [3, 7]
    assert rows.shape == (2, 3, 48)
    torch.testing.assert_close(rows[1, 0], embedding.weight[7].bfloat16(), rtol=0, atol=0)
    assert embedding(torch.zeros(0, dtype=torch.long)).shape == (0, 48)


def test_a_tied_head_owns_no_tensor_and_both_maps_are_cleared(folder):
    model = load(folder)
    assert isinstance(model.lm_head, KbitTiedHead)
    assert not [n for n in model.state_dict() if n.startswith("lm_head")]
    assert model.all_tied_weights_keys == {}
    assert not model._tied_weights_keys
    model.tie_weights()  # would look for embed_tokens.weight
    assert isinstance(model.lm_head, KbitTiedHead)
    assert type(model)._tied_weights_keys == {"lm_head.weight": "model.embed_tokens.weight"}


def test_a_tie_to_a_16_bit_embedding_stays_a_tie(source, tmp_path):
    out = quantize_model(source, tmp_path / "out", format="nf4:b64").out
    model = load(out)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_copies_are_apart_and_whole(folder):
    model = load(folder, dtype=torch.float32)
    with torch.no_grad():
        wanted = model(TOKENS).logits
        twin = copy.deepcopy(model)
        assert twin.lm_head._embedding is twin.model.embed_tokens
        model.model.embed_tokens.codes.zero_()
        assert torch.equal(twin(TOKENS).logits, wanted)
        assert not torch.equal(model(TOKENS).logits, wanted)
        # A changed part is seen, although the packed view is kept between calls.
        model.load_state_dict(twin.state_dict())
        assert torch.equal(model(TOKENS).logits, wanted)


def test_a_refilled_layer_computes_with_its_new_codes():
    layer, x = linear(bias=False), torch.randn(2, 70)
    first = layer(x)
    layer.fill(encode(torch.randn(6, 70), layer.record.format))
    torch.testing.assert_close(layer(x), x @ layer.weight.T)
    assert not torch.allclose(layer(x), first)
    with pytest.raises(ValueError, match="layer holds nf4:b64"):
        layer.fill(encode(torch.randn(6, 70), parse_format("int8")))


def test_save_pretrained_writes_the_folder_again(folder, tmp_path):
    model = load(folder, dtype=torch.float32)
    model.save_pretrained(tmp_path / "again")
    before, after = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "again"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        expected = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert torch.equal(after[name], expected), name
        assert after[name].dtype == expected.dtype
    with torch.no_grad():
        again = load(tmp_path / "again")
        assert again.dtype == torch.float32
        assert torch.equal(again(TOKENS).logits, model(TOKENS).logits)


def test_save_pretrained_in_the_models_own_type_keeps_the_content(folder, tmp_path):
    from kbit.models import open_model

    load(folder).save_pretrained(tmp_path / "again", max_shard_size="8KB")
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 1
    assert open_model(tmp_path / "again").content_hash == open_model(folder).content_hash


def test_the_config_takes_any_keyword_and_judges_it(folder):
    import json

    stored = json.loads((folder / "config.json").read_text())["quantization_config"]
    config = kbit.hf.KbitConfig(**stored)
    assert config.to_dict() == stored
    assert AutoHfQuantizer.from_config(stored, pre_quantized=True).quantization_config.records
    with pytest.raises(ModelError, match="unknown field 'surprise'"):
        kbit.hf.KbitConfig(**stored, surprise=1)


def test_a_dense_model_is_not_quantised_while_loading(source, folder):
    config = AutoModelForCausalLM.from_pretrained(folder).config.quantization_config
    with pytest.raises(ValueError, match="pre-quantized"):
        AutoModelForCausalLM.from_pretrained(source, quantization_config=config)


def test_gradients_pass_through_to_what_is_below(folder):
    model = load(folder, dtype=torch.float32)
    assert model.hf_quantizer.is_trainable
    layer = model.model.layers[0].mlp.up_proj
    x = torch.randn(2, 48, requires_grad=True)
    layer(x).pow(2).sum().backward()
    weight = layer.weight
    torch.testing.assert_close(x.grad, 2 * (x @ weight.T) @ weight, rtol=1e-4, atol=1e-5)
    # Training the base itself is refused by the Trainer; adapters on top are what is_trainable means.
    with pytest.raises(ValueError, match="purely quantized"):
        validate_quantization_for_training(model)


def test_layers_pass_for_linear_without_being_initialised(folder):
    model = load(folder)
    layer = model.model.layers[0].mlp.up_proj
    assert isinstance(layer, torch.nn.Linear)
    before = layer.codes.clone()
    model.initialize_weights()
    model._initialize_weights(layer)
    assert torch.equal(layer.codes, before)


def test_dequantize_gives_an_ordinary_model(folder):
    model = load(folder, dtype=torch.float32)
    with torch.no_grad():
        wanted = model(TOKENS).logits
        dense = model.dequantize()
        torch.testing.assert_close(dense(TOKENS).logits, wanted)
    assert not any(isinstance(m, StoredWeight | KbitTiedHead) for m in dense.modules())
    assert dense.lm_head.weight is dense.model.embed_tokens.weight


def test_the_base_model_loads_without_its_head(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "llama")
    out = quantize_model(source, tmp_path / "out", format="nf4:b64", head="nf4:b64").out
    base = AutoModel.from_pretrained(out, dtype=torch.float32)
    with torch.no_grad():
        wanted = load(out, dtype=torch.float32).model(TOKENS).last_hidden_state
        torch.testing.assert_close(base(TOKENS).last_hidden_state, wanted)


def test_load_refuses_what_transformers_would_fill_with_random_weights(folder, tmp_path):
    import shutil

    for damage, says in (("drop", "is missing"), ("norm", "lacks model.norm.weight"), ("add", "unknown")):
        broken = tmp_path / damage
        shutil.copytree(folder, broken)
        tensors = load_file(broken / "model.safetensors")
        if damage == "drop":
            del tensors["model.layers.1.mlp.up_proj.scales"]
        elif damage == "norm":
            del tensors["model.norm.weight"]
        else:
            tensors["model.layers.9.mlp.up_proj.weight"] = torch.zeros(2, 2)
        save_file(tensors, broken / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelError, match=says):
            load(broken)


UNREGISTERED = """
import sys, torch
from transformers import AutoModelForCausalLM
if sys.argv[2] == "registered":
    import kbit.hf
tokens = torch.tensor([[1, 5, 99, 5, 42]])
for seed in (0, 1):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
    with torch.no_grad():
        print(float(model(tokens).logits.double().sum()))
"""


def test_without_the_registration_the_weights_are_random(folder):
    def run(how):
        command = [sys.executable, "-c", UNREGISTERED, str(folder), how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split(), done.stderr

    (first, second), said = run("unregistered")
    assert first != second  # weights follow the seed: they are random
    assert "Unknown quantization type, got kbit" in said
    (first, second), said = run("registered")
    assert first == second
    assert "Unknown quantization type" not in said


def test_the_folders_readme_says_so(folder):
    text = (folder / "README.md").read_text()
    assert "import kbit.hf" in text
    assert "random weights" in text
