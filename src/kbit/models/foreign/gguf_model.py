"""A GGUF file as a model: its stored bits, and a dense folder that computes what its codes stand for."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kbit.errors import ModelError
from kbit.models.foreign.gguf_config import gguf_config
from kbit.models.foreign.gguf_header import GgufFile, GgufTensor, read_gguf
from kbit.models.foreign.gguf_names import Place, is_embedding, place_of
from kbit.models.foreign.gguf_read import gguf_package, read_tensor
from kbit.models.safetensors_header import TensorSpec
from kbit.models.size import StoredBits
from kbit.models.write import FolderWriter, write_config

FREQUENCIES = "rope_freqs.weight"
"""Llama 3's factors of rotary frequencies, which llama.cpp stores as a tensor."""


def gguf_stored_bits(path: Path) -> StoredBits:
    """Bits of a file's tensors, as they lie in it; metadata, padding and the tokeniser are not counted."""
    file = read_gguf(path)
    parts = {True: [0, 0], False: [0, 0]}
    for tensor in file.tensors.values():
        part = parts[is_embedding(tensor.name)]
        part[0] += 8 * tensor.size_bytes
        part[1] += 0 if tensor.name == FREQUENCIES else tensor.weights
    return StoredBits(
        body=parts[False][0],
        embeddings=parts[True][0],
        body_weights=parts[False][1],
        embeddings_weights=parts[True][1],
    )


def gguf_label(path: Path) -> str:
    """What tables call the format: `gguf:` and the type that most weights of the body have."""
    weights: dict[str, int] = {}
    for tensor in read_gguf(path).tensors.values():
        if not is_embedding(tensor.name):
            weights[tensor.type.name] = weights.get(tensor.type.name, 0) + tensor.weights
    return "gguf:" + max(weights, key=lambda name: weights[name], default="empty").lower()


@contextmanager
def dense_folder(path: Path, dtype: torch.dtype | None = None) -> Iterator[Path]:
    """A folder with the model's numbers as they are computed with; it goes when the context ends.

    Memory holds one tensor at a time; the folder takes the weights in `dtype` on the disk of temporary files.

    Args:
        path: the file.
        dtype: of the weights; None for float32, in which llama.cpp's types are decoded.

    Raises:
        ModelError: an architecture or a tensor that kbit does not know; a tensor that is missing.
    """
    file = read_gguf(path)
    gguf_package()  # said before anything is written
    with tempfile.TemporaryDirectory(prefix="kbit-gguf-") as temporary:
        folder = Path(temporary)
        write_dense(file, folder, dtype or torch.float32)
        yield folder


def write_dense(file: GgufFile, folder: Path, dtype: torch.dtype) -> None:
    """Write `config.json` and the decoded tensors of a file into a folder."""
    config = gguf_config(file)
    write_config(folder, config | {"dtype": str(dtype).removeprefix("torch.")})
    made = _parameters(file)
    specs = [TensorSpec(name=name, dtype=dtype, shape=_shape(pieces)) for name, pieces in made.items()]
    with FolderWriter(folder, specs) as writer:
        for name, pieces in made.items():
            writer.write(name, _decoded(file, pieces, config, dtype))


_Pieces = list[tuple[GgufTensor, Place]]


def _parameters(file: GgufFile) -> dict[str, _Pieces]:
    """Each parameter of the Transformers model and the tensors that make it up."""
    made: dict[str, _Pieces] = {}
    for name, tensor in file.tensors.items():
        if name == FREQUENCIES:
            continue
        place = place_of(file.architecture, name)
        if place is None:
            raise ModelError(
                f"{file.path}: holds the tensor {name!r}, for which kbit has no place in {file.architecture} "
                "models: what it does would be left out. Measure the original model instead."
            )
        made.setdefault(place.parameter, []).append((tensor, place))
    for name, pieces in made.items():
        wanted = {p.part for _, p in pieces}
        parts = next(iter(wanted))
        if len(pieces) != (parts[1] if parts else 1) or len(wanted) != len(pieces):
            raise ModelError(f"{file.path}: {name} needs other tensors than {[t.name for t, _ in pieces]}.")
    return made


def _shape(pieces: _Pieces) -> tuple[int, ...]:
    tensor, place = pieces[0]
    if place.part:
        return (tensor.shape[0], place.part[1] * tensor.shape[1], *tensor.shape[2:])
    if place.undo is None:
        return tensor.shape
    # An undone tensor has another shape only where it is turned, or gets a first dimension of one.
    return tuple(place.undo(torch.empty(tensor.shape, device="meta"), _ANY).shape)


_ANY: Mapping[str, int] = {"num_attention_heads": 1, "num_key_value_heads": 1, "n_head": 1}


def _decoded(file: GgufFile, pieces: _Pieces, config: Mapping[str, Any], dtype: torch.dtype) -> Tensor:
    tensor, place = pieces[0]
    if not place.part:
        # A norm has one taken off before it is rounded.
        weight = read_tensor(
            file, tensor.name, torch.float32 if place.undo and tensor.weights < 1 << 20 else dtype
        )
        return (weight if place.undo is None else place.undo(weight, config)).to(dtype).contiguous()
    whole = torch.empty(_shape(pieces), dtype=dtype)
    for tensor, place in pieces:
        first, rows = place.part[0] if place.part else 0, tensor.shape[1]
        whole[:, first * rows : (first + 1) * rows] = read_tensor(file, tensor.name, dtype)
    return whole


def apply_frequencies(model: Any, file: GgufFile) -> None:
    """Divide the rotary frequencies by the factors that a file gives.

    Raises:
        ModelError: they do not fit the model.
    """
    if FREQUENCIES not in file.tensors:
        return
    factors = read_tensor(file, FREQUENCIES)
    for module in model.modules():
        inverse = getattr(module, "inv_freq", None)
        if isinstance(inverse, Tensor):
            if inverse.shape != factors.shape:
                raise ModelError(
                    f"{file.path}: {FREQUENCIES} has {factors.numel()} factors for {inverse.numel()}."
                )
            module.inv_freq = inverse / factors.to(inverse.device)
            if getattr(module, "original_inv_freq", None) is not None:
                module.original_inv_freq = module.inv_freq.clone()


def gguf_tokenizer(path: Path) -> Any:
    """The tokeniser that a file holds.

    Raises:
        ModelError: it holds none, or one that Transformers cannot read.
    """
    from transformers import PreTrainedTokenizerFast

    file = read_gguf(path)
    gguf_package()
    if "tokenizer.ggml.tokens" not in file.metadata:
        raise ModelError(
            f"{path}: holds no tokeniser, so no text can be measured with it. Convert it with one."
        )
    try:
        return PreTrainedTokenizerFast(name_or_path=str(path.parent), gguf_file=path.name)
    except Exception as error:  # whatever a vocabulary that is damaged or new makes its builders raise
        raise ModelError(f"{path}: its tokeniser cannot be read by Transformers: {error}") from error
