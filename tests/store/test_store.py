import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kbit.errors import StoreError
from kbit.store import Costs, Labels, Measurement, Store, identity, open_store


def test_what_is_put_comes_back(store: Store, make: SimpleNamespace) -> None:
    against = make.probe(kind="against", against=make.subject(formats={"body": "bf16"}))
    given = make.measurement(
        probe=against,
        metric="kl_bits_per_byte",
        costs=Costs(wall_s=1.5, peak_memory_bytes=2**33, device="cpu", threads=2),
        versions={"kbit": "0.1.0", "torch": "2.13.0"},
        created_at="2026-01-01T00:00:00.000000+00:00",
    )
    assert store.put([given]) == 1
    assert store.get(identity(given.subject, given.probe)) == (given,)
    assert store.get("0" * 64) == ()


def test_missing_stays_missing(store: Store, make: SimpleNamespace) -> None:
    store.put([make.failed("no room")])
    (row,) = store.rows(gains=False)
    assert (row["status"], row["reason"]) == ("failed", "no room")
    for column in (
        "numerator",
        "denominator",
        "value",
        "bits",
        "bytes",
        "tokens",
        "stored_bits",
        "wall_s",
        "gain",
    ):
        assert row[column] is None, column


def test_an_ok_row_is_never_changed_and_a_failed_one_is_replaced(store: Store, make: SimpleNamespace) -> None:
    good, failed = make.measurement(), make.failed()
    key = identity(good.subject, good.probe)
    assert store.put([failed]) == 1
    assert store.put([make.failed("again, otherwise")]) == 1
    assert store.get(key)[0].reason == "again, otherwise"
    assert store.put([good]) == 1
    assert store.put([failed]) == 0
    assert store.put([make.measurement([1.0, 1.0, 1.0])]) == 0
    (kept,) = store.get(key)
    assert (kept.status, kept.numerator, kept.parts) == ("ok", good.numerator, good.parts)


def test_a_put_is_all_or_nothing(store: Store, make: SimpleNamespace) -> None:
    store.put([make.measurement()])
    other = make.subject("rung-2")
    wrong = make.measurement(subject=other, parts=make.parts([1.0, 2.0, 3.0], (10, 20, 31)))
    with pytest.raises(StoreError, match="parts are not the documents"):
        store.put([make.measurement(subject=other, metric="fine"), wrong])
    assert store.get(identity(other, make.probe())) == ()


def test_a_new_algorithm_version_is_another_row_and_the_old_one_is_kept(
    store: Store, make: SimpleNamespace
) -> None:
    old = make.measurement()
    new = make.measurement([1.0, 2.0, 3.0], probe=make.probe(algorithm={"code-lengths": 2}))
    store.put([old])
    store.put([new])
    assert store.states([identity(m.subject, m.probe) for m in (old, new)]) == {
        (identity(m.subject, m.probe), "bits_per_byte"): "ok" for m in (old, new)
    }
    assert [row["numerator"] for row in store.rows(gains=False)] == [6.0]
    assert [row["numerator"] for row in store.rows(gains=False, all_versions=True)] == [100.5, 6.0]


def test_labels_fill_gaps_and_never_change(store: Store, make: SimpleNamespace) -> None:
    store.put([make.measurement()])
    labels = Labels(name="renamed", format="other", stored_bits=4160, weights=1024, weights_body=512)
    store.put([make.measurement(metric="more", subject=make.subject(labels=labels))])
    rows = list(store.rows(gains=False))
    assert {(r["model"], r["format"], r["stored_bits"], r["whole_bits_per_weight"]) for r in rows} == {
        ("rung-1", "nf4:b64", 4160, 4160 / 1024)
    }


def test_the_architecture_is_spread_over_columns(store: Store, make: SimpleNamespace) -> None:
    labels = Labels(name="m", architecture={"layers": 2, "kv_heads": 4, "sliding_window": None})
    given = make.measurement(subject=make.subject(labels=labels))
    store.put([given])
    (row,) = store.rows(gains=False)
    assert (row["layers"], row["kv_heads"], row["sliding_window"], row["head_dim"]) == (2, 4, None, None)
    assert store.get(row["identity"])[0].subject.labels.architecture == {"layers": 2, "kv_heads": 4}


def test_rows_have_the_columns_of_the_contract(store: Store, make: SimpleNamespace) -> None:
    store.put([make.measurement()])
    (row,) = store.rows(gains=False)
    assert row["value"] == 100.5 / 60
    assert (row["bits"], row["bytes"], row["characters"], row["tokens"]) == (100.5, 60, 57, 30)
    wanted = (
        "model family format method text metric numerator denominator value status reason bits bytes tokens "
        "characters stored_bits stored_bits_body stored_bits_embeddings weights weights_body "
        "body_bits_per_weight whole_bits_per_weight parameters parameters_body numerics baseline "
        "baseline_bits_per_byte gain gain_low gain_high gain_standard_error wall_s created_at identity "
        "format_bits"
    )
    assert set(wanted.split()) <= set(row)


def test_a_study_is_what_it_planned(store: Store, make: SimpleNamespace) -> None:
    first, second = make.measurement(), make.measurement(subject=make.subject("rung-2"))
    keys = [(identity(m.subject, m.probe), m.metric) for m in (first, second)]
    store.put([first, second])
    store.set_planned("both", keys)
    store.set_planned("one", keys)
    store.set_planned("one", keys[1:])
    assert store.studies() == ["both", "one"]
    assert [row["model"] for row in store.rows("one", gains=False)] == ["rung-2"]
    assert [row["studies"] for row in store.rows("both", gains=False)] == ["both", "both,one"]
    with pytest.raises(StoreError, match=r"'two'.*both, one"):
        list(store.rows("two"))


def test_a_row_that_lies_cannot_be_made(make: SimpleNamespace) -> None:
    with pytest.raises(StoreError, match="reason"):
        make.failed(reason=None)
    with pytest.raises(StoreError, match="neither figures"):
        make.failed(numerator=0.0)
    with pytest.raises(StoreError, match="numerator"):
        make.measurement(numerator=None)
    with pytest.raises(StoreError, match="'done' does not exist"):
        make.measurement(status="done")


def test_the_database_itself_refuses_a_failed_row_with_a_figure(store: Store, make: SimpleNamespace) -> None:
    store.put([make.failed()])
    path = store.place.removeprefix("the store ")
    with pytest.raises(sqlite3.IntegrityError), sqlite3.connect(path) as connection:
        connection.execute("UPDATE measurement SET numerator = 0, denominator = 0")


def test_claims(store: Store) -> None:
    me, dead = "elsewhere:1:1", "elsewhere:2:2"
    assert store.claim("model", me) is None
    assert store.claim("model", me) is None
    assert store.claim("model", dead) == me
    store.release("model", dead)
    assert store.claim("model", dead) == me
    store.release("model", me)
    assert store.claim("model", dead, lease_s=-1) is None
    assert store.claim("model", me) is None  # the lease had ended


def test_parts_of_many_documents(store: Store, make: SimpleNamespace) -> None:
    sizes = list(range(1, 3001))
    given: Measurement = make.measurement(
        parts=make.parts([float(n) for n in sizes], sizes),
        numerator=float(sum(sizes)),
        denominator=sum(sizes),
    )
    store.put([given])
    (back,) = store.get(identity(given.subject, given.probe))
    assert replace(back, created_at=None) == given


def test_a_store_can_be_opened_again(tmp_path: Path, make: SimpleNamespace) -> None:
    for url in (tmp_path / "a.sqlite", str(tmp_path / "a.sqlite"), f"sqlite:///{tmp_path / 'a.sqlite'}"):
        with open_store(url, create=True) as store:
            store.put([make.measurement()])
    with open_store(tmp_path / "a.sqlite") as store:
        assert len(list(store.rows(gains=False))) == 1
