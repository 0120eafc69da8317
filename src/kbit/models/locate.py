"""From what a person types (a folder or a hub id) to a local folder with a readable `config.json`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbit.errors import ModelError, did_you_mean

# What a model needs; never pickles, never code.
HUB_PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
# The rungs that ship with kbit, by the names that `kbit ls models` lists; package data, beside these rooms.
SHIPPED = "ladder:"
_SHIPPED_FOLDER = Path(__file__).parents[1] / "ladder"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?")


def locate(path_or_id: str | Path) -> Path:
    """The local folder of a model, or its GGUF file; a hub id (`owner/name[@revision]`) may be downloaded.

    Args:
        path_or_id: a folder or a GGUF file; or, where there is none, a hub id; or a model that ships with
            kbit, such as `ladder:rung-7`.

    Raises:
        ModelError: neither a folder nor a hub id that can be had.
    """
    folder = _shipped(str(path_or_id)) or Path(path_or_id).expanduser()
    if folder.is_dir():
        return folder
    text = str(path_or_id)
    if folder.exists():
        from kbit.models.foreign.gguf_header import is_gguf

        if is_gguf(folder):
            return folder
        raise ModelError(
            f"{text}: is a file, and no GGUF file. Give the folder that holds the model's config.json, or a "
            ".gguf file."
        )
    if isinstance(path_or_id, Path) or not _HUB_ID.fullmatch(text):
        raise ModelError(
            f"{text}: no such folder. Give a folder that holds a model, or a hub id such as 'gpt2'."
        )
    return _download(text)


def locate_config(path_or_id: str | Path) -> Path:
    """The config file of a model; of a hub id only `config.json` is downloaded, no weight.

    Args:
        path_or_id: a folder, a JSON file, or a hub id (`owner/name[@revision]`).

    Raises:
        ModelError: none of these.
    """
    given = _shipped(str(path_or_id)) or Path(path_or_id).expanduser()
    if given.is_dir():
        return given / "config.json"
    text = str(path_or_id)
    if given.is_file():
        if given.suffix != ".json":
            raise ModelError(f"{text}: is no JSON file. Give a model's config.json, its folder, or a hub id.")
        return given
    if isinstance(path_or_id, Path) or given.suffix == ".json" or not _HUB_ID.fullmatch(text):
        raise ModelError(f"{text}: no such file or folder. Give a config.json, a model folder, or a hub id.")
    return _download(text, file="config.json")


def _shipped(text: str) -> Path | None:
    """The folder of a model that ships with kbit; None where that is not what is named."""
    if not text.startswith(SHIPPED):
        return None
    name = text.removeprefix(SHIPPED)
    names = sorted(file.parent.name for file in _SHIPPED_FOLDER.glob("*/config.json"))
    if name not in names:
        raise ModelError(f"{text}: kbit ships no such model: {did_you_mean(name, names)}")
    return _SHIPPED_FOLDER / name


def _download(hub_id: str, *, file: str | None = None) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    name, _, revision = hub_id.partition("@")
    try:
        if file is not None:
            return Path(hf_hub_download(name, file, revision=revision or None))
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(HUB_PATTERNS)))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{hub_id}: neither a folder here nor a model on the hub that you may read. Check the spelling, "
            "or log in with `hf auth login` if it is private or gated."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{hub_id}: no such folder here, and the hub could not be reached ({type(error).__name__}). "
            "Check the path or the network, or download it elsewhere and give the folder."
        ) from error


def read_config(folder: Path) -> Mapping[str, Any]:
    """`config.json` of a model folder, as it stands there; of a GGUF file, what its metadata say.

    Raises:
        ModelError: it is missing, is not JSON, names no model type, or needs code from the folder.
    """
    if folder.is_file():
        from kbit.models.foreign.gguf_config import gguf_config
        from kbit.models.foreign.gguf_header import read_gguf

        return gguf_config(read_gguf(folder))
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{folder}: holds an adapter and no model, which is not enough here. Merge it first: "
                "kbit finetune --merge writes a model."
            ) from error
        raise ModelError(
            f"{folder}: is no model folder: it has no config.json. Give the folder that has one."
        ) from error
    except (ValueError, OSError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error}). Copy or download it again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"{file}: has no 'model_type', so it is not the configuration of a model.")
    if "auto_map" in config:
        raise ModelError(
            f"{folder}: brings its own code (auto_map in config.json), which kbit does not run. Use a "
            "version of the model whose architecture Transformers knows."
        )
    return config
