"""Stored bits = a formula from the shapes = bytes in the file less its header."""

import json
from math import ceil

import pytest
from safetensors.torch import load_file, save_file

from kbit.formats import DATATYPES
from kbit.models import open_model, stored_bits
from kbit.models.safetensors_read import read_folder_tensors
from kbit.quantize import quantize_model

# Prime widths, one row or column (attention), a width no block divides: hidden 43, intermediate 173.
HIDDEN, MIDDLE, VOCABULARY = 43, 173, 61
ODD = {
    "hidden_size": HIDDEN,
    "intermediate_size": MIDDLE,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 1,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
}
LINEAR = [(1, HIDDEN), (1, HIDDEN), (1, HIDDEN), (HIDDEN, 1)]  # q, k, v, o
LINEAR += [(MIDDLE, HIDDEN), (MIDDLE, HIDDEN), (HIDDEN, MIDDLE)]  # gate, up, down
NORMS = 3 * HIDDEN  # before attention, before the feed-forward part, at the end
PACKED = [name for name, row in DATATYPES.items() if row.is_packed and row.window is None]


def formula(k, rows, columns, block, scale_bits, *, offset):
    """Bits of one matrix, by hand: rows of codes padded to 32, one scale a block."""
    codes = rows * ceil(columns / 32) * 32 * k
    if block == "row":
        blocks = rows
    elif block == "tensor":
        blocks = 1
    elif block.startswith("flat"):
        blocks = ceil(rows * columns / int(block[4:]))
    else:
        blocks = rows * ceil(columns / int(block[1:]))
    return codes + blocks * scale_bits * (2 if offset else 1)


@pytest.fixture(scope="module")
def odd(tiny, tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("odd") / "model", "llama", **ODD)


@pytest.mark.parametrize("datatype", PACKED)
def test_every_type_takes_what_the_formula_says(odd, independent, tmp_path, datatype):
    place = PACKED.index(datatype)
    block = ["b64", "b32", "row", "flat64", "tensor", "b16", "flat1024"][place % 7]
    scale, scale_bits = [("", 16), (":fp32", 32), (":bf16", 16)][place % 3]
    report = quantize_model(odd, tmp_path / "out", format=f"{datatype}:{block}{scale}")
    k, offset = DATATYPES[datatype].bits, datatype.startswith("uint")
    body = sum(formula(k, r, c, block, scale_bits, offset=offset) for r, c in LINEAR) + 16 * NORMS
    if datatype.startswith(("quantile", "lloyd")):
        body += len(LINEAR) * 16 * 2**k
    bits = stored_bits(tmp_path / "out")
    assert bits == report.stored_bits
    assert bits.body == body
    assert bits.embeddings == 2 * 16 * VOCABULARY * HIDDEN
    assert bits.whole == 8 * independent.data_bytes(tmp_path / "out")
    assert bits.body_weights == sum(r * c for r, c in LINEAR) + NORMS
    assert bits.body_bits_per_weight == body / bits.body_weights


@pytest.mark.parametrize(("scope", "tables"), [("", 7), (":table-kind", 7), (":table-model", 1)])
def test_a_shared_table_counts_once(odd, independent, tmp_path, scope, tables):
    report = quantize_model(odd, tmp_path / "out", format=f"lloyd4:b64{scope}")
    matrices = sum(formula(4, r, c, "b64", 16, offset=False) for r, c in LINEAR)
    assert report.stored_bits.body == matrices + 16 * NORMS + tables * 16 * 16
    assert report.stored_bits.whole == 8 * independent.data_bytes(tmp_path / "out")


def test_kept_inputs_and_signs_count(odd, independent, tmp_path):
    p = 2  # 5% of 43 inputs; 9 of 173; 1 of 1 is none: something must be coded
    kept = {1: 0, HIDDEN: p, MIDDLE: 9}
    report = quantize_model(odd, tmp_path / "proxy", format="int3:b64", method="proxy5")
    body = sum(
        formula(3, r, c - kept[c], "b64", 16, offset=False) + 16 * r * kept[c] + 8 * kept[c]
        for r, c in LINEAR
    )
    assert report.stored_bits.body == body + 16 * NORMS
    assert report.stored_bits.whole == 8 * independent.data_bytes(tmp_path / "proxy")
    report = quantize_model(odd, tmp_path / "rotate", format="int3:b64", method="rotate")
    body = sum(formula(3, r, c, "b64", 16, offset=False) + 8 * ceil(c / 8) for r, c in LINEAR)
    assert report.stored_bits.body == body + 16 * NORMS


@pytest.mark.parametrize("tied", [False, True])
def test_packed_embeddings_and_head_count_once_when_tied(tiny, independent, tmp_path, tied):
    source = tiny.write_model(tmp_path / "model", "llama", **ODD | {"tie_word_embeddings": tied})
    head = None if tied else "int4:row"
    quantize_model(source, tmp_path / "out", format="nf4:b64", embeddings="int8:row", head=head)
    bits = stored_bits(tmp_path / "out")
    table = VOCABULARY * (64 * 8 + 16)  # 43 codes of 8 bits, padded to 64, and a scale
    other = 0 if tied else VOCABULARY * (64 * 4 + 16)
    assert bits.embeddings == table + other
    assert bits.embeddings_weights == VOCABULARY * HIDDEN * (1 if tied else 2)
    assert bits.whole == 8 * independent.data_bytes(tmp_path / "out")


def test_sixteen_bit_folders_count_too(odd, independent, tmp_path):
    bits = stored_bits(odd)
    assert bits.whole == 16 * bits.weights == 8 * independent.data_bytes(odd)
    report = quantize_model(odd, tmp_path / "out", format="fp32")
    assert report.stored_bits.whole == 32 * bits.weights
    assert report.stored_bits.body_bits_per_weight == 32


def test_a_tied_tensor_stored_twice_counts_once(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "llama", **ODD | {"tie_word_embeddings": True})
    once = stored_bits(source)
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    assert stored_bits(source) == once
    report = quantize_model(source, tmp_path / "out", format="bf16")
    assert report.stored_bits == once
    assert not report.untied


def test_position_tables_are_embeddings_and_biases_are_body(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "gpt2")
    bits = stored_bits(source)
    assert bits.embeddings_weights == 101 * 40 + 64 * 40
    layer = 40 * 120 + 120 + 40 * 40 + 40 + 40 * 160 + 160 + 160 * 40 + 40 + 4 * 40
    assert bits.body_weights == 2 * layer + 2 * 40


def test_open_model_knows_the_weights_and_the_records(odd, tmp_path):
    quantize_model(odd, tmp_path / "out", format="nf4:b64", head="int8:b64")
    dense, packed = open_model(odd), open_model(tmp_path / "out")
    assert dense.parameters == packed.parameters == sum(r * c for r, c in LINEAR) + NORMS + 2 * 61 * 43
    assert dense.body_parameters == packed.body_parameters == dense.parameters - 2 * 61 * 43
    assert not dense.records
    assert len(packed.records) == 8
    head = packed.records["lm_head"]
    assert (head.role, head.shape, str(head.format)) == ("head", (61, 43), "int8:b64")
    assert (head.method.name, head.method.version) == ("nearest", 1)
    assert packed.config == json.loads((tmp_path / "out" / "config.json").read_text())


def test_the_content_hash_follows_the_content_only(odd, tmp_path):
    first = open_model(odd).content_hash
    assert len(first) == 64
    one = quantize_model(odd, tmp_path / "one", format="nf4:b64").out
    many = quantize_model(odd, tmp_path / "many", format="nf4:b64", max_shard_bytes=4000).out
    other = quantize_model(odd, tmp_path / "other", format="nf4:b32").out
    assert len(list(many.glob("*.safetensors"))) > 3
    assert stored_bits(many) == stored_bits(one)
    hashes = [open_model(folder).content_hash for folder in (one, many, other)]
    assert hashes[0] == hashes[1]
    assert len({first, *hashes}) == 3
    settings = json.loads((one / "config.json").read_text())
    settings |= {"transformers_version": "4.0", "use_cache": False}
    (one / "config.json").write_text(json.dumps(settings, indent=1))
    assert open_model(one).content_hash == hashes[0]
    (one / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 0.5}))
    assert open_model(one).content_hash != hashes[0]


def test_the_content_hash_is_kept_and_forgotten_with_the_file(odd, tmp_path, monkeypatch):
    folder = quantize_model(odd, tmp_path / "out", format="bf16").out
    first = open_model(folder).content_hash
    reads = []
    kind = type(read_folder_tensors(folder))
    chunks = kind.chunks
    monkeypatch.setattr(kind, "chunks", lambda self, name: reads.append(name) or chunks(self, name))
    assert open_model(folder).content_hash == first
    assert reads == []
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert open_model(folder).content_hash != first
    assert len(reads) == len(tensors)
