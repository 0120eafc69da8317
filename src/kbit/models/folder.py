"""A model folder as the rest of kbit sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.models.adapter import Adapter, adapter_in
from kbit.models.content import content_hash
from kbit.models.locate import locate, read_config
from kbit.models.record import LayerRecord
from kbit.models.size import folder_records
from kbit.models.skeleton import build_skeleton


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """A local model, k-bit, 16-bit or another tool's; no weight is loaded.

    Attributes:
        path: the folder, or the GGUF file.
        config: `config.json` as it stands; of a GGUF file, what its metadata say; of an adapter, its model's.
        records: what is packed, by layer; empty for a model that kbit has not quantised.
        adapter: what the folder holds where it holds no model of its own.
    """

    path: Path
    config: Mapping[str, Any]
    records: Mapping[str, LayerRecord]
    adapter: Adapter | None = None

    @property
    def foreign_format(self) -> str | None:
        """What another tool stored it as, such as `gguf:q4_k` or `gptq:4bit:g128`; None where none did."""
        if self.path.is_file():
            from kbit.models.foreign.gguf_model import gguf_label

            return gguf_label(self.path)
        from kbit.models.foreign.folders import foreign_label, foreign_tool

        return foreign_label(self.config) if foreign_tool(self.config) else None

    @property
    def content_hash(self) -> str:
        """Hash over tensors and config, independent of shards and file names (see `content_hash`)."""
        return content_hash(self.path) if self.adapter is None else self.adapter.content_hash

    @property
    def parameters(self) -> int:
        """Weights of the architecture, a tied tensor once; the same at every k."""
        return build_skeleton(self._base).parameters + self._added

    @property
    def body_parameters(self) -> int:
        """Weights without embeddings (token and position tables) and output layer."""
        return build_skeleton(self._base).body_parameters + self._added

    @property
    def _base(self) -> Path:
        return self.path if self.adapter is None else locate(self.adapter.base)

    @property
    def _added(self) -> int:
        return 0 if self.adapter is None else self.adapter.parameters


def open_model(path_or_id: str | Path) -> ModelFolder:
    """Find a model and read what its config says.

    Args:
        path_or_id: a folder, a GGUF file, or a hub id, which is downloaded if it is not in the hub's cache.

    Raises:
        ModelError: no such model, or a config that cannot be read.
    """
    path = locate(path_or_id)
    adapter = adapter_in(path)
    base = path if adapter is None else locate(adapter.base)
    return ModelFolder(path=path, config=read_config(base), records=folder_records(base), adapter=adapter)
