"""Helpers of the models room."""

import importlib.util
from pathlib import Path

import pytest


def module(name: str):
    path = Path(__file__).parent.parent / "models" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"kbit_tests_models_{name}", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="session")
def tiny():
    """Makes small random models."""
    return module("tiny")


@pytest.fixture(scope="session")
def independent():
    """Decodes folders without kbit."""
    return module("independent")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Hashes are not kept in the user's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
