"""Write a model folder: tensors (in shards if need be), config, tokeniser and a README on how to load it."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from kbit.models.content import tokenizer_files
from kbit.models.safetensors_header import TensorSpec
from kbit.models.safetensors_read import INDEX, SINGLE
from kbit.models.safetensors_write import SafetensorsWriter

# The hub serves larger files badly.
MAX_SHARD_BYTES = 20 * 10**9


class FolderWriter:
    """Writes tensors to one safetensors file, or to shards with an index; any order, one at a time."""

    def __init__(
        self, folder: Path, specs: Iterable[TensorSpec], *, max_shard_bytes: int = MAX_SHARD_BYTES
    ) -> None:
        shards = _split(list(specs), max_shard_bytes)
        names = [SINGLE]
        if len(shards) > 1:
            names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
        self._folder = folder
        self._where: dict[str, str] = {}
        self._writers: dict[str, SafetensorsWriter] = {}
        for name, shard in zip(names, shards, strict=True):
            self._writers[name] = SafetensorsWriter(folder / name, shard)
            self._where |= {spec.name: name for spec in shard}

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write one tensor, whose shape and data type must be those announced."""
        self._writers[self._where[name]].write(name, tensor)

    def close(self) -> None:
        """Close every file and write the index; every announced tensor must have been written."""
        for writer in self._writers.values():
            writer.close()
        if len(self._writers) > 1:
            total = sum(writer.data_bytes for writer in self._writers.values())
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(self._where.items()))}
            (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            for writer in self._writers.values():
                writer.abandon()


def _split(specs: list[TensorSpec], max_shard_bytes: int) -> list[list[TensorSpec]]:
    shards: list[list[TensorSpec]] = [[]]
    size = 0
    for spec in specs:
        if shards[-1] and size + spec.size_bytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(spec)
        size += spec.size_bytes
    return shards


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json`."""
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the tokeniser's files, the settings for generation and the licence."""
    others = [source / "generation_config.json", *source.glob("LICENSE*"), *source.glob("NOTICE*")]
    for file in [*tokenizer_files(source), *(p for p in others if p.is_file())]:
        shutil.copyfile(file, folder / file.name)


def write_readme(folder: Path, weight_format: str, *, packed: bool) -> None:
    """Write the README that says how to load the folder."""
    (folder / "README.md").write_text(_README.format(format=weight_format) if packed else _PLAIN)


_PLAIN = "# A model\n\nWritten by `kbit quantize` without packing; load it with Transformers as any other.\n"

_README = """---
library_name: transformers
tags: [kbit]
---
# A k-bit model ({format})

Made by `kbit quantize`: its linear layers are stored as packed codes. To load it:

```python
import kbit

model = kbit.load("this folder")
```

or, with Transformers,

```python
import kbit.hf  # before from_pretrained: without it the weights would be random
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("this folder")
model = AutoModelForCausalLM.from_pretrained("this folder")
```

**Do not leave out `import kbit.hf`.** Transformers alone does not know the quantisation type `kbit`: it
prints a warning, makes *random weights* for every packed layer, and goes on. `kbit generate`,
`kbit measure` and `kbit lm-eval` import it themselves.
"""
