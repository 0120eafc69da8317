"""Load a model or its tokeniser, k-bit or 16-bit, by folder or hub id."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kbit.errors import ModelError
from kbit.models.adapter import adapter_in, attach
from kbit.models.checkpoint_names import match_names
from kbit.models.content import tokenizer_files
from kbit.models.experts import FUSED, split_expert
from kbit.models.foreign.folders import load_foreign
from kbit.models.foreign.gguf_header import read_gguf
from kbit.models.foreign.gguf_model import apply_frequencies, dense_folder, gguf_tokenizer
from kbit.models.locate import locate
from kbit.models.numerics import set_numerics
from kbit.models.safetensors_read import read_folder_tensors
from kbit.models.size import folder_records, foreign_folder
from kbit.models.skeleton import build_skeleton
from kbit.models.stored_parts import part_specs


def load(
    path_or_id: str | Path, *, dtype: torch.dtype | None = None, device: str = "cpu", numerics: str = "a16"
) -> Any:
    """Load a causal language model, ready to compute; kbit is registered with Transformers first.

    Args:
        path_or_id: a folder, a GGUF file or a hub id; or a folder with an adapter, which is put beside its
            model's layers.
        dtype: to compute in; the model's own where None, and float32 for a GGUF file. Codes and scales keep
            theirs.
        device: where to put it.
        numerics: `a16`; or `a8`, packed layers round activations to 8 bits before each product.

    Returns:
        The `PreTrainedModel`, in evaluation mode. A k-bit model holds no dense copy of a packed weight.

    Raises:
        ModelError: no such model, a truncated file, or tensors that do not fit the architecture.
        MissingExtraError: an adapter, and PEFT is not installed.
    """
    from transformers import AutoModelForCausalLM

    import kbit.hf

    kbit.hf.register()
    folder = locate(path_or_id)
    adapter = adapter_in(folder)
    if adapter is not None:
        return attach(load(adapter.base, dtype=dtype, device=device, numerics=numerics), adapter).eval()
    if folder.is_file():
        return _load_gguf(folder, dtype=dtype, device=device, numerics=numerics)
    if foreign_folder(folder):
        with _progress_on_terminals():
            return load_foreign(folder, dtype=dtype).to(device).eval()
    check_tensors(folder)
    with _progress_on_terminals():
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if dtype is None else dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    set_numerics(model, numerics)
    return model.to(device).eval()


def _load_gguf(file: Path, *, dtype: torch.dtype | None, device: str, numerics: str) -> Any:
    with dense_folder(file, dtype) as folder:
        model = load(folder, dtype=dtype or torch.float32, device=device, numerics=numerics)
    apply_frequencies(model, read_gguf(file))
    return model


@contextmanager
def _progress_on_terminals() -> Iterator[None]:
    from transformers.utils import logging

    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def check_tensors(folder: Path) -> None:
    """Every parameter is there, with its shape: Transformers would only warn, and make random weights.

    Raises:
        ModelError: a tensor that is missing, unknown, or of another shape.
    """
    skeleton, tensors, records = build_skeleton(folder), read_folder_tensors(folder), folder_records(folder)
    for record in records.values():
        for spec in part_specs(record).values():
            stored = tensors.tensors.get(spec.name)
            if stored is None or stored.spec != spec:
                found = (
                    "is missing" if stored is None else f"is {stored.spec.dtype} {list(stored.spec.shape)}"
                )
                raise ModelError(
                    f"{folder}: {spec.name} must be {spec.dtype} {list(spec.shape)} and {found}. The files "
                    "do not fit config.json: quantise the model again."
                )
    parts = {spec.name for record in records.values() for spec in part_specs(record).values()}
    names = match_names(skeleton.model, [n for n in tensors.tensors if n not in parts])
    packed = {f"{name}.weight" for name in records}
    for name in records:
        if expert := split_expert(name):
            packed |= {f"{expert[0]}.{FUSED[expert[2]][0]}"}
    packed |= {target for target, source in skeleton.tied.items() if source in packed}
    missing = [name for name in names.missing if name not in packed]
    if missing or names.unknown:
        what = f"lacks {missing[0]}" if missing else f"has {names.unknown[0]}, which is unknown"
        raise ModelError(
            f"{folder}: {what} to {type(skeleton.model).__name__} ({len(missing)} tensors missing, "
            f"{len(names.unknown)} unknown). Copy or download it again, or correct config.json."
        )
    wanted = skeleton.model.state_dict()
    for name, target in names.parameters.items():
        shape = tensors.tensors[name].spec.shape
        if shape != tuple(wanted[target].shape):
            raise ModelError(
                f"{folder}: {name} is {list(shape)}, and config.json makes it "
                f"{list(wanted[target].shape)}. Correct config.json, or download the model again."
            )


def load_tokenizer(path_or_id: str | Path) -> Any:
    """Load a model's tokeniser.

    Args:
        path_or_id: a folder or a hub id.

    Raises:
        ModelError: no such model, or it has no tokeniser that Transformers can read.
    """
    from transformers import AutoTokenizer

    folder = locate(path_or_id)
    if folder.is_file():
        return gguf_tokenizer(folder)
    adapter = None if any(tokenizer_files(folder)) else adapter_in(folder)
    if adapter is not None:
        return load_tokenizer(adapter.base)
    if not any(tokenizer_files(folder)):
        raise ModelError(
            f"{folder}: has no tokeniser (no tokenizer.json). Copy the tokeniser's files from the model it "
            "was made from."
        )
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"{folder}: its tokeniser cannot be read: {error}") from error
