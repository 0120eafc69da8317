"""`kbit lm-eval`: the harness, in a process where k-bit folders are known."""

import importlib.util
import json
import subprocess
import sys
import types

import pytest

from kbit.cli.app import run

INSTALLED = importlib.util.find_spec("lm_eval") is not None


@pytest.mark.skipif(INSTALLED, reason="lm_eval is installed, so nothing is missing")
def test_without_the_extra_the_remedy_is_told(capsys):
    assert run(["lm-eval", "--tasks", "lambada_openai"]) == 1
    assert "pip install 'kbit[lm-eval]'" in capsys.readouterr().err


@pytest.fixture
def harness(monkeypatch):
    """A stand-in that notes how it is called; the real one is driven below where it is installed."""
    calls = []

    def cli_evaluate():
        from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

        calls.append((list(sys.argv), "kbit" in AUTO_QUANTIZER_MAPPING))
        print("a table of results")
        if "--output_path" in sys.argv:
            folder = sys.argv[sys.argv.index("--output_path") + 1]
            with open(f"{folder}/results_1.json", "w") as file:  # noqa: PTH123 (as the harness does)
                json.dump({"results": {"t": {"acc,none": 0.5}}}, file)
        if "--bad" in sys.argv:
            sys.exit(3)

    package, main = types.ModuleType("lm_eval"), types.ModuleType("lm_eval.__main__")
    package.__spec__ = importlib.util.spec_from_loader("lm_eval", loader=None)
    main.cli_evaluate = cli_evaluate
    monkeypatch.setitem(sys.modules, "lm_eval", package)
    monkeypatch.setitem(sys.modules, "lm_eval.__main__", main)
    return calls


def test_arguments_go_through_with_kbit_registered(harness, capsys):
    before = list(sys.argv)
    arguments = ["--model", "hf", "--model_args", "pretrained=folder", "--tasks", "t"]
    assert run(["lm-eval", *arguments]) == 0
    assert harness == [(["lm_eval", *arguments], True)]
    assert capsys.readouterr().out == "a table of results\n"
    assert sys.argv == before


def test_json_is_the_harnesss_own_results(harness, capsys):
    assert run(["lm-eval", "--tasks", "t", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"results": {"t": {"acc,none": 0.5}}}
    assert "a table of results" in captured.err


def test_its_failure_is_ours(harness, capsys):
    assert run(["lm-eval", "--bad"]) == 3
    assert "lm_eval ended with 3" in capsys.readouterr().err
    assert run(["lm-eval", "--output_path", "x", "--json"]) == 2
    assert "not both" in capsys.readouterr().err


TASK = """
task: kbit_story
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{context}}}}"
doc_to_target: "{{{{target}}}}"
metric_list:
  - metric: perplexity
  - metric: acc
"""


@pytest.mark.skipif(not INSTALLED, reason="needs the extra lm-eval: pip install 'kbit[lm-eval]'")
@pytest.mark.shared
def test_the_real_harness_scores_the_quantised_weights(shared, tmp_path):
    from kbit.quantize import quantize_model

    source = shared / "data" / "models" / "stories260K"
    packed = quantize_model(source, tmp_path / "k", format="int8:b32").out
    rows = [{"context": "Once upon a time, there was a little", "target": " girl"}] * 3
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "story.yaml").write_text(TASK.format(data=tmp_path / "data.jsonl"))
    found = []
    for folder in (source, packed):
        command = [sys.executable, "-c", "from kbit.cli import main; main()", "lm-eval"]
        command += ["--model", "hf", "--device", "cpu"]
        command += ["--model_args", f"pretrained={folder},dtype=float32", "--tasks", "kbit_story"]
        command += ["--include_path", str(tmp_path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout)["results"]["kbit_story"]["perplexity,none"])
    # Random weights would give about the size of the vocabulary, 512.
    assert found[0] < 40
    assert found[1] == pytest.approx(found[0], rel=0.1)
