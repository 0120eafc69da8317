"""`kbit generate --prompts` and `kbit compare` from the command line."""

import json

import pytest

from kbit.cli.app import run

SETTINGS = ("--prompt-tokens", "9", "--max-new-tokens", "30", "--top-k", "0")


@pytest.fixture(scope="module")
def made(tiny_family, tmp_path_factory):
    """Prompts, sampled and greedy continuations, and how the prompts' documents go on."""
    place = tmp_path_factory.mktemp("made")
    texts = [f"the hen number {i} is in the tin, and there the other hen is; 天地玄黄 {i}" for i in range(12)]
    (place / "prompts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    common = ["generate", str(tiny_family[0]), "--prompts", str(place / "prompts.jsonl"), *SETTINGS]
    assert run([*common, "--out", str(place / "sampled.jsonl"), "--seed", "0", "--seed", "1",
                "--human-out", str(place / "human.jsonl")]) == 0  # fmt: skip
    assert run([*common, "--out", str(place / "greedy.jsonl"), "--temperature", "0"]) == 0
    return place


def compare(capsys, *arguments) -> dict:
    capsys.readouterr()
    assert run(["compare", *map(str, arguments), "--resamples", "200", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_file_of_continuations(capsys, made, tiny_family):
    rows = [json.loads(line) for line in (made / "sampled.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    assert {row["seed"] for row in rows} == {0, 1}
    assert all(row["temperature"] == 1.0 and row["top_k"] == 0 and len(row["content"]) == 64 for row in rows)
    human = [json.loads(line) for line in (made / "human.jsonl").read_text().splitlines()]
    assert [h["prompt"] for h in human] == [r["prompt"] for r in rows[::2]]
    texts = [json.loads(line)["text"] for line in (made / "prompts.jsonl").read_text().splitlines()]
    assert all(text.startswith(h["prompt"] + h["text"]) for text, h in zip(texts, human, strict=True))
    again = ["generate", str(tiny_family[0]), "--prompts", str(made / "prompts.jsonl"), *SETTINGS,
             "--seed", "0", "--seed", "1", "--out", str(made / "sampled.jsonl"), "--json"]  # fmt: skip
    assert run(again) == 0
    assert json.loads(capsys.readouterr().out)["reused"] == 24


def test_figures_and_their_names(capsys, made, tiny_family):
    found = compare(capsys, made / "sampled.jsonl", "--human", made / "human.jsonl", "--scorer",
                    tiny_family[1], "--generator", tiny_family[0], "--train", made / "prompts.jsonl",
                    )  # fmt: skip
    assert found["texts"] == {"generated": 24, "human": 12}
    assert found["settings"]["paired_by_prompt"] is True
    figures = found["figures"]
    assert set(figures["decoding_entropy"]["by_seed"]) == {"0", "1"}
    # A random model of 257 tokens, drawn as it is: 8 bits a byte, less or more.
    assert figures["decoding_entropy"]["generated"]["value"] == pytest.approx(
        figures["model_entropy"]["generated"]["value"], rel=1e-6
    )
    assert figures["novelty_4"]["human"]["value"] < figures["novelty_4"]["generated"]["value"]
    gap = figures["cross_entropy"]
    assert gap["difference"]["value"] == pytest.approx(gap["generated"]["value"] - gap["human"]["value"])
    assert gap["difference"]["ci95"][0] < gap["difference"]["value"] < gap["difference"]["ci95"][1]
    assert any("U+FFFD" in w for w in found["warnings"])


def test_a_coder_as_scorer_and_a_table(capsys, made):
    arguments = ["compare", str(made / "sampled.jsonl"), "--human", str(made / "human.jsonl"), "--scorer",
                 "kneser-ney-3", "--train", str(made / "prompts.jsonl"), "--resamples", "100"]  # fmt: skip
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert "kneser" not in captured.err
    assert "cross-entropy" in captured.out
    assert "rep-4" in captured.out


@pytest.mark.parametrize(("arguments", "code", "told"), [
    (["{}/none.jsonl", "--human", "{}/human.jsonl"], 1, "no such text"),
    (["{}/greedy.jsonl"], 2, "human"),
    (["{}/greedy.jsonl", "--human", "{}/human.jsonl", "--scorer", "kneser-ney-3"], 1, "fitted to a text"),
    (["{}/greedy.jsonl", "--human", "{}/human.jsonl", "--window", "3"], 2, "--window 16"),
    (["{}/greedy.jsonl", "--human", "{}/human.jsonl", "--estimator", "nothing"], 2, "entropy rate"),
    (["{}/greedy.jsonl", "--human", "{}/human.jsonl", "--mauve"], 2, "language model as --scorer"),
])  # fmt: skip
def test_errors_of_compare(capsys, made, arguments, code, told):
    assert run(["compare", *(a.format(made) for a in arguments)]) == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "either --prompt"),
    (["--prompt", "a", "--prompts", "{}/prompts.jsonl"], "either --prompt"),
    (["--prompts", "{}/prompts.jsonl"], "go together"),
    (["--prompt", "a", "--n", "3"], "are for --prompts"),
    (["--prompt", "a", "--seed", "1", "--seed", "2"], "several seeds"),
    (["--prompts", "{}/prompts.jsonl", "--out", "{}/prompts.jsonl"], "read from"),
    (["--prompts", "{}/prompts.jsonl", "--out", "{}/o.jsonl", "--human-out", "{}/h"], "--prompt-tokens"),
    (["--prompts", "{}/prompts.jsonl", "--out", "{}/greedy.jsonl"], "another model, prompt"),
    (["--prompts", "{}/prompts.jsonl", "--out", "{}/o.jsonl", "--n", "0"], "at least 1"),
    (["--prompts", "{}/prompts.jsonl", "--out", "{}/o.jsonl", "--top-p", "0"], "top_p must be"),
])  # fmt: skip
def test_errors_of_generate(capsys, made, tiny_family, arguments, told):
    assert run(["generate", str(tiny_family[0]), *(a.format(made) for a in arguments)]) == 2
    assert told in capsys.readouterr().err
    assert not (made / "o.jsonl").exists()
