"""Layer records in config.json."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.errors import ModelError
from kbit.formats import DATATYPES, parse_format
from kbit.models.layer_names import expand_name, join_names, split_name
from kbit.models.record import LayerRecord, Method, Rotation
from kbit.models.record_config import records_from_config, records_to_config

NEAREST = Method(name="nearest", version=1)
FORMATS = [f"{name}:b32" for name, row in DATATYPES.items() if row.is_packed]


def record(name, fmt="nf4:b64", **changes):
    settings = {"shape": (8, 4), "role": "linear", "format": parse_format(fmt), "method": NEAREST}
    return LayerRecord(name=name, **(settings | changes))


def config(*records):
    # Through JSON, as a file would go.
    return json.loads(json.dumps(records_to_config(records, kbit_version="9")))


names = st.lists(st.sampled_from(["model", "layers", "0", "7", "10", "007", "up"]), min_size=1, max_size=4)
records = st.builds(
    LayerRecord,
    name=names.map(".".join),
    shape=st.tuples(st.integers(1, 99), st.integers(1, 99)),
    role=st.sampled_from(["linear", "embedding", "head"]),
    format=st.sampled_from(FORMATS).map(parse_format),
    method=st.builds(
        Method,
        name=st.sampled_from(["nearest", "gptq"]),
        version=st.integers(1, 3),
        seed=st.none() | st.integers(0, 9),
        calibration=st.none() | st.text(max_size=4),
        options=st.dictionaries(st.sampled_from(["damping", "order"]), st.integers(0, 3), max_size=2),
    ),
    transposed=st.booleans(),
    rotation=st.none() | st.just(Rotation()),
    kept_inputs=st.integers(0, 3),
    kept_type=st.sampled_from(["bf16", "fp16"]),
    activation_order=st.booleans(),
).filter(lambda r: r.kept_inputs < r.shape[1] and not (r.role == "embedding" and r.transforms_inputs))


@settings(max_examples=30, deadline=None)
@given(st.lists(records, min_size=1, max_size=12, unique_by=lambda r: r.name))
def test_records_come_back_as_they_were(given_records):
    back = records_from_config(config(*given_records))
    assert {r.name: r for r in back} == {r.name: r for r in given_records}


def test_two_hundred_layers_take_few_lines():
    kinds = ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj"]
    many = [record(f"model.layers.{i}.{kind}") for i in range(200) for kind in kinds]
    many[5] = record(many[5].name, "int8")  # one exception: layer 1's k_proj
    written = records_to_config(many, kbit_version="9")
    assert list(written["layers"]) == [
        "model.layers.{0-199}.self_attn.q_proj",
        "model.layers.{0,2-199}.self_attn.k_proj",
        "model.layers.{0-199}.mlp.up_proj",
        "model.layers.{0-199}.mlp.down_proj",
        "model.layers.{1}.self_attn.k_proj",
    ]
    assert written["layers"]["model.layers.{0-199}.mlp.up_proj"] == {"shape": [8, 4]}
    assert written["layers"]["model.layers.{1}.self_attn.k_proj"]["format"] == "int8:b64"
    assert sorted(records_from_config(written), key=str) == sorted(many, key=str)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranges_name_exactly_their_layers(indices):
    names = [f"a.{i}.b" for i in sorted(indices)]
    assert {split_name(n) for n in names} == {("a.{}.b", i) for i in indices}
    assert expand_name(join_names("a.{}.b", indices)) == names


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quant_method": "gptq"}, "reads only 'kbit'"),
        ({"layout": 2}, "layout 2, written by kbit 9; this kbit reads layout 1. Upgrade"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"layers": []}, "must be objects"),
        ({"layers": {"a": 3}}, "must be an object"),
        ({"layers": {"a": {"shape": [2, 2], "shuffle": 1}}}, "unknown field 'shuffle'.*newer kbit"),
        (
            {"layers": {"a": {"shape": [2, 2], "rotation": {"kind": "givens"}}}},
            "'givens', and this",
        ),
        (
            {"layers": {"a": {"shape": [2, 2], "rotation": {"kind": "x", "angle": 1}}}},
            "unknown field 'angle'",
        ),
        ({"layers": {"a": {"shape": [2, 2], "kept_inputs": 2}}}, "keeps 2 of 2 inputs"),
        ({"layers": {"a": {"shape": [2, 2], "kept_type": "fp8"}}}, "'fp8' is not one of"),
        ({"layers": {"a": {"shape": [2, 2], "activation_order": 1}}}, "neither true nor false"),
        (
            {"layers": {"a": {"shape": [2, 2], "role": "embedding", "activation_order": True}}},
            "an embedding looks rows up",
        ),
        ({"layers": {"a": {"shape": [2, 2], "table_of": "b"}}}, "no stored table to share"),
        ({"layers": {"a": {"shape": [2, 2], "format": "bf16"}}}, "is not packed"),
        ({"layers": {"a": {"shape": [2, 2], "format": "nf99"}}}, "no data type 'nf99'"),
        ({"layers": {"a": {"shape": [2]}}}, "Upgrade kbit"),
        ({"layers": {"a": {"shape": [2, -1]}}}, "-1 is not a whole number"),
        ({"layers": {"a": {}}}, "has no 'shape'"),
        ({"layers": {"a": {"shape": [2, 2], "role": "norm"}}}, "'norm' is not one of 'linear'"),
        ({"layers": {"a.{0-1}": {"shape": [2, 2]}, "a.1": {"shape": [2, 2]}}}, "'a.1' is named twice"),
        ({"layers": {"a.{0-99999999999}": {"shape": [2, 2]}}}, "more than 1000000 layers"),
        ({"layers": {"a.{1--2}": {"shape": [2, 2]}}}, "is no range"),
        ({"layers": {"a": {"shape": [2, 2], "method": {"name": "x", "version": 1, "luck": 2}}}}, "'luck'"),
    ],
)
def test_what_is_unknown_or_wrong_is_an_error(change, says):
    with pytest.raises(ModelError, match=says):
        records_from_config(config(record("a")) | change)
