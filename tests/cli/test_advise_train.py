"""`kbit advise --flops | --hours`: what to train."""

import json

import numpy as np
import pytest

from kbit.cli.app import run


def asked(capsys, *arguments):
    assert run(["advise", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_published_constants_stand_in_and_that_is_said(capsys):
    answer = asked(capsys, "--flops", "1e21")
    best = answer["best"]
    assert best["params"] * best["tokens"] == pytest.approx(1e21 / 6)
    assert best["params"] == pytest.approx(2.78e9, rel=0.01)
    assert any("besiroglu-2024 stand in" in a for a in answer["assumptions"])
    assert answer["bits_share"] is None
    assert answer["by_bits"] == []
    assert run(["advise", "--flops", "1e21"]) == 0
    out = capsys.readouterr().out
    assert "2.78B" in out
    assert "cost against performance" in out


def test_hours_of_a_machine_are_operations(capsys):
    answer = asked(capsys, "--hours", "2", "--flops-per-s", "1e15", "--share", "0.5")
    assert answer["flops"] == pytest.approx(2 * 3600 * 1e15 * 0.5)
    assert any("training reaches 50%" in a for a in answer["assumptions"])


def test_inference_moves_the_budget_to_a_smaller_model(capsys):
    plain = asked(capsys, "--flops", "1e21")["best"]
    served = asked(capsys, "--flops", "1e21", "--inference-tokens", "1e11")["best"]
    assert served["params"] < plain["params"]
    assert served["training_flops"] + served["inference_flops"] == pytest.approx(1e21)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("fit")
    rng = np.random.default_rng(0)
    size = np.geomspace(1e7, 1e10, 40)
    tokens = size * np.resize([8.0, 30.0, 120.0], 40)
    bits = np.resize([2.0, 3.0, 4.0, 8.0, 16.0], 40)
    loss = 2.0 + 400 * (size * (1 - np.exp(-bits / 2.5))) ** -0.35 + 900 * tokens**-0.33
    loss *= np.exp(0.004 * rng.normal(size=40))
    lines = [
        "params,tokens,bits,loss",
        *(",".join(map(repr, map(float, r))) for r in zip(size, tokens, bits, loss, strict=True)),
    ]
    (place / "runs.csv").write_text("\n".join(lines))
    data, out = str(place / "runs.csv"), str(place / "fit.json")
    assert run(["fit", "--law", "effective-parameters", "--data", data, "--resamples", "40", "--starts", "8",
                "--save", out]) == 0  # fmt: skip
    return out


def test_a_fitted_law_gives_k_with_intervals_and_a_picture(saved, tmp_path, capsys):
    picture = tmp_path / "cost.svg"
    answer = asked(
        capsys, "--flops", "1e20", "--fit", saved, "--bits", "2", "4", "16", "--picture", str(picture)
    )
    assert [c["bits"] for c in answer["by_bits"]] == [2.0, 4.0, 16.0]
    best = answer["best"]
    assert best["loss"] == min(c["loss"] for c in answer["by_bits"])
    low, high = best["params_ci95"]
    assert low < best["params"] < high
    assert set(answer["bits_share"]) == {"2", "4", "16"}
    drawn = picture.read_text()
    assert drawn.startswith("<svg")
    assert "operations" in drawn
    assert run(["advise", "--flops", "1e20", "--fit", saved]) == 0
    assert "at each k" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--flops", "0"], 2, "flops must be positive"),
        (["--flops", "1e20", "--hours", "1"], 2, "either as --flops, or as --hours"),
        (["--hours", "-1", "--flops-per-s", "1e12"], 2, "--hours must be positive"),
        (["--hours", "1", "--flops-per-s", "1e12", "--share", "2"], 2, "at most 1"),
        (["--flops", "1e20", "--constants", "hofmann-2022"], 1, "did you mean 'hoffmann-2022'"),
        (["--flops", "1e20", "--bits", "4"], 2, "does not know k"),
        (["--flops", "1e20", "--store", "x.sqlite"], 2, "--store would say nothing there"),
        (["--flops", "10"], 1, "trains no model"),
    ],
)
def test_errors_name_the_remedy(capsys, arguments, code, message):
    assert run(["advise", *arguments]) == code
    assert message in capsys.readouterr().err
