"""Adapters: folders with small matrices trained beside a model that lies elsewhere, as PEFT writes them."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.errors import MissingExtraError, ModelError
from kbit.models.content import content_hash
from kbit.models.locate import locate
from kbit.models.safetensors_header import read_header

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
RECORD = "finetune.json"
PREFIX = "base_model.model."
"""Before the name of every tensor, as PEFT has it."""

_USED = (
    "alpha_pattern", "bias", "lora_alpha", "peft_type", "r", "rank_pattern", "target_modules", "use_dora",
    "use_rslora",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """An adapter's folder.

    Attributes:
        folder: where it lies.
        base: folder or hub id of the model it belongs to.
        base_hash: content hash of that model when the adapter was trained; None where nobody wrote it down.
        config: `adapter_config.json`.
    """

    folder: Path
    base: str
    base_hash: str | None
    config: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """Weights of the adapter."""
        return sum(math.prod(stored.spec.shape) for stored in read_header(self.folder / WEIGHTS).values())

    @property
    def stored_bits(self) -> int:
        """Bits of its tensors as they lie on disk."""
        return sum(8 * stored.spec.size_bytes for stored in read_header(self.folder / WEIGHTS).values())

    @property
    def content_hash(self) -> str:
        """Hash of the base's content, of the adapter's tensors and of what decides how they are used."""
        used = {key: value for key, value in self.config.items() if key in _USED}
        digest = hashlib.sha256(f"kbit adapter content 1\n{content_hash(locate(self.base))}\n".encode())
        digest.update(json.dumps(used, sort_keys=True).encode())
        digest.update((self.folder / WEIGHTS).read_bytes())
        return digest.hexdigest()


def adapter_in(folder: Path) -> Adapter | None:
    """The adapter a folder holds; None where it holds a model, or nothing.

    Raises:
        ModelError: its configuration cannot be read, names no model, or its weights are missing or a pickle.
    """
    file = folder / CONFIG
    if not file.is_file() or (folder / "config.json").is_file():
        return None
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error}). Copy the adapter again.") from error
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise ModelError(f"{file}: names no base_model_name_or_path, so the model it belongs to is unknown.")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{folder}: has no {WEIGHTS}. Adapters are read from safetensors only, never pickles."
        )
    inside = folder / base
    record = _record(folder)
    return Adapter(
        folder=folder,
        base=str(inside) if not Path(base).is_absolute() and inside.is_dir() else base,
        base_hash=record.get("base_content_hash"),
        config=config,
    )


def attach(model: Any, adapter: Adapter) -> Any:
    """Put an adapter's matrices beside the layers of its model, which stay as they are.

    Raises:
        MissingExtraError: PEFT is not installed.
        ModelError: the adapter is no LoRA, or does not fit the model.
    """
    peft = peft_library("an adapter")
    from safetensors.torch import load_file

    if adapter.base_hash is not None and content_hash(locate(adapter.base)) != adapter.base_hash:
        raise ModelError(
            f"{adapter.folder}: was trained beside another model than what {adapter.base} holds now. Put "
            "that model back, or train the adapter again."
        )

    try:
        config = peft.PeftConfig.from_pretrained(str(adapter.folder), local_files_only=True)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{adapter.folder}: PEFT cannot read its configuration: {error}") from error
    if config.peft_type != peft.PeftType.LORA:
        raise ModelError(f"{adapter.folder}: is a {config.peft_type} adapter; kbit reads LoRA.")
    config.inference_mode = True
    tensors = load_file(adapter.folder / WEIGHTS)
    try:
        peft.inject_adapter_in_model(config, model, "default")
        result = peft.set_peft_model_state_dict(
            model, {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}, "default"
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{adapter.folder}: does not fit {adapter.base}: {str(error).splitlines()[0]}"
        ) from error
    missing = [name for name in result.missing_keys if "lora_" in name]
    if missing or result.unexpected_keys:
        odd = (missing or result.unexpected_keys)[0]
        raise ModelError(f"{adapter.folder}: does not fit {adapter.base}: {odd} is not in both.")
    return model


def has_adapter(model: Any) -> bool:
    """Whether layers of a loaded model have matrices of an adapter beside them."""
    return any(hasattr(module, "base_layer") for module in model.modules())


def peft_library(needed_for: str) -> Any:
    """PEFT.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("peft", needed_for=needed_for) from error
    return peft


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
