import pytest

from kbit.cli.app import run


@pytest.mark.parametrize("threads", ["0", "-3"])
def test_errors(tmp_path, capsys, monkeypatch, threads):
    monkeypatch.chdir(tmp_path)
    assert run(["memorize", "recipe.toml", "--threads", threads]) == 2
    assert f"--threads is {threads}" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
