import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

DRIVER = Path(__file__).parent / "driver.py"


@pytest.fixture(scope="session")
def driver() -> ModuleType:
    """The study that costs nothing, as a module; its `__file__` is the script."""
    spec = importlib.util.spec_from_file_location("study_driver", DRIVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
