import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.errors import StoreError
from kbit.store import Labels, canonical_json, identity, lineage

# Text without lone surrogates, which have no UTF-8.
words = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


def test_identity_is_the_published_recipe(make: SimpleNamespace) -> None:
    # docs/store.md spells the recipe out; this is it by hand, without kbit's own functions.
    text = (
        '{"probe":{"algorithm":{"code-lengths":1},"kind":"text",'
        '"settings":{"context":512,"prefix":"bos","stride":256},"text":"' + make.digest("held-out") + '"},'
        '"subject":{"algorithm":{"nearest":1},"content":"' + make.digest("rung-1") + '",'
        '"formats":{"body":"nf4:b64","embeddings":"bf16"},"kind":"model",'
        '"methods":{"body":{"name":"nearest"}},"numerics":{"activations":"float32","device":"cpu"}}}'
    )
    by_hand = hashlib.sha256(("kbit measurement 1\n" + text).encode()).hexdigest()
    assert identity(make.subject(), make.probe()) == by_hand
    # A pinned value: stores in the world hold identities like it, so it must never change.
    assert by_hand == "b8aae3e273a28fd15acbdd6b3e3ceb4c71e4c78616886c805945097f515e00fa"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("subject", {"content": "0" * 64}),
        ("subject", {"formats": {"body": "nf3:b64", "embeddings": "bf16"}}),
        ("subject", {"methods": {"body": {"name": "nearest", "seed": 1}}}),
        ("subject", {"numerics": {"activations": "bfloat16", "device": "cpu"}}),
        ("subject", {"algorithm": {"nearest": 2}}),
        ("probe", {"text": "0" * 64}),
        ("probe", {"settings": {"context": 512, "stride": 128, "prefix": "bos"}}),
        ("probe", {"algorithm": {"code-lengths": 2}}),
        ("probe", {"kind": "against"}),
    ],
)
def test_whatever_changes_the_figure_changes_the_identity(
    make: SimpleNamespace, part: str, change: dict[str, object]
) -> None:
    subject, probe = make.subject(), make.probe()
    changed = (
        (replace(subject, **change), probe) if part == "subject" else (subject, replace(probe, **change))
    )
    assert identity(*changed) != identity(subject, probe)
    # Only a version leaves the lineage as it was.
    assert (lineage(*changed) == lineage(subject, probe)) == ("algorithm" in change)


def test_labels_do_not_enter(make: SimpleNamespace) -> None:
    subject = make.subject(labels=Labels(name="another name", family="f", parameters=1, stored_bits=2))
    probe = make.probe(text_name="another.jsonl")
    assert identity(subject, probe) == identity(make.subject(), make.probe())


def test_the_other_subject_of_a_comparison_enters_with_its_content(make: SimpleNamespace) -> None:
    against = [make.probe(kind="against", against=make.subject(name)) for name in ("rung-1", "rung-2")]
    assert identity(make.subject(), against[0]) != identity(make.subject(), against[1])
    newer = make.probe(kind="against", against=make.subject(algorithm={"nearest": 2}))
    assert lineage(make.subject(), newer) == lineage(make.subject(), against[0])


@given(values)
def test_canonical_json_reads_back_as_the_same_value(value: object) -> None:
    def less_none(v: object) -> object:
        if isinstance(v, dict):
            return {k: less_none(w) for k, w in v.items() if w is not None}
        return [less_none(w) for w in v] if isinstance(v, list) else v

    text = canonical_json(value)
    assert json.loads(text) == less_none(value)
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(words, values, max_size=6), st.randoms())
def test_canonical_json_knows_no_order_of_keys(value: dict[str, object], random: object) -> None:
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert canonical_json(dict(items)) == canonical_json(value)


@given(values, values)
def test_canonical_json_tells_values_apart(a: object, b: object) -> None:
    # JSON's own reading is the judge of which values are the same (1 == 1.0, and True is not 1).
    assert (canonical_json(a) == canonical_json(b)) == (
        json.dumps(json.loads(canonical_json(a)), sort_keys=True)
        == json.dumps(json.loads(canonical_json(b)), sort_keys=True)
    )


def test_canonical_json_of_known_values() -> None:
    assert (
        canonical_json({"z": 1.0, "a": (True, -0.0, 1e-7), "é": "你"})
        == '{"a":[true,0,1e-07],"z":1,"é":"你"}'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: "a"}, "\ud800", {"a": object()}])
def test_what_has_no_canonical_json_is_refused(value: object) -> None:
    with pytest.raises(StoreError):
        canonical_json(value)
