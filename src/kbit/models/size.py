"""Exact stored bits of a model folder, from its config and the headers of its files."""

from dataclasses import dataclass, replace
from pathlib import Path

from kbit.models.adapter import adapter_in
from kbit.models.checkpoint_names import match_names
from kbit.models.locate import locate, read_config
from kbit.models.record import LayerRecord
from kbit.models.record_config import records_from_config
from kbit.models.safetensors_read import FolderTensors, read_folder_tensors
from kbit.models.skeleton import Skeleton, build_skeleton


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredBits:
    """Bits as they lie on disk, headers not counted; a tied tensor once.

    Attributes:
        body: bits of all that is neither embedding nor output layer: codes, scales, norms, biases.
        embeddings: bits of look-up tables (tokens, positions) and of the output layer.
        body_weights: weights the body's bits stand for.
        embeddings_weights: weights the embeddings' bits stand for.
    """

    body: int
    embeddings: int
    body_weights: int
    embeddings_weights: int

    @property
    def whole(self) -> int:
        """Bits of the model."""
        return self.body + self.embeddings

    @property
    def weights(self) -> int:
        """Weights of the model."""
        return self.body_weights + self.embeddings_weights

    @property
    def body_bits_per_weight(self) -> float | None:
        """Bits over weights of the body; None where it has none."""
        return self.body / self.body_weights if self.body_weights else None

    @property
    def whole_bits_per_weight(self) -> float | None:
        """Bits over weights of the model; None where it has none."""
        return self.whole / self.weights if self.weights else None


def stored_bits(folder: str | Path) -> StoredBits:
    """Stored bits of a model folder, k-bit, 16-bit or another tool's, or of a GGUF file; no weight is read.

    An adapter's come on top of its model's.

    Args:
        folder: a local model folder or a GGUF file.

    Raises:
        ModelError: no model folder, a truncated file, or an architecture Transformers does not know.
    """
    path = Path(folder)
    adapter = adapter_in(path)
    if adapter is not None:
        base = stored_bits(locate(adapter.base))
        return replace(
            base,
            body=base.body + adapter.stored_bits,
            body_weights=base.body_weights + adapter.parameters,
        )
    if path.is_file():
        from kbit.models.foreign.gguf_model import gguf_stored_bits

        return gguf_stored_bits(path)
    if foreign_folder(path):
        from kbit.models.foreign.folders import foreign_stored_bits

        return foreign_stored_bits(path)
    return count_bits(build_skeleton(path), read_folder_tensors(path), folder_records(path))


def folder_records(folder: Path) -> dict[str, LayerRecord]:
    """Layer records of a folder by name; none for a model that kbit has not quantised.

    Raises:
        ModelError: it was quantised by a tool whose folders kbit does not read, or by a newer kbit.
    """
    quantization = read_config(folder).get("quantization_config")
    if quantization is None or foreign_folder(folder):
        return {}
    return {record.name: record for record in records_from_config(quantization)}


def foreign_folder(folder: Path) -> bool:
    """Whether another tool that kbit knows has quantised the model of a folder."""
    from kbit.models.foreign.folders import foreign_tool

    return folder.is_dir() and foreign_tool(read_config(folder)) is not None


def count_bits(skeleton: Skeleton, tensors: FolderTensors, records: dict[str, LayerRecord]) -> StoredBits:
    """Stored bits of the tensors that belong to the architecture.

    Tensors it ignores (masks in old files) are not counted, nor is the second copy of a tied tensor.
    """
    dense = [name for name in tensors.tensors if name.rpartition(".")[0] not in records]
    names = match_names(skeleton.model, dense)
    given = set(names.parameters.values())
    bits = {"body": 0, "embeddings": 0}
    for name, stored in tensors.tensors.items():
        layer = name.rpartition(".")[0]
        if layer in records:
            target = name
        elif name in names.merged:
            target = names.merged[name][0]
        elif name in names.parameters:
            target = names.parameters[name]
            if skeleton.tied.get(target) in given:
                continue
        else:
            continue
        bits[skeleton.group_of_tensor(target)] += 8 * stored.spec.size_bytes
    return StoredBits(
        body=bits["body"],
        embeddings=bits["embeddings"],
        body_weights=skeleton.body_parameters,
        embeddings_weights=skeleton.parameters - skeleton.body_parameters,
    )
