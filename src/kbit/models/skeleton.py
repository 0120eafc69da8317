"""A model without weights: its architecture on the meta device, and what each of its weights is for."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from kbit.errors import ModelError
from kbit.models.locate import read_config

Group = Literal["body", "embeddings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Skeleton:
    """An architecture as its config describes it, dense and without weights.

    Attributes:
        model: the `PreTrainedModel` on the meta device.
        tied: parameter to the one whose values it shares (`lm_head.weight` to the embedding's).
        shapes: every parameter but tied ones, and its shape.
        embedding: name of the module that embeds tokens.
        head: name of the output layer, or None where there is none.
    """

    model: Any
    tied: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    embedding: str
    head: str | None
    _embeddings: frozenset[str] = field(repr=False)

    def group(self, module: str) -> Group:
        """`embeddings` for a module that is a look-up table or the output layer, else `body`."""
        return "embeddings" if module in self._embeddings else "body"

    def group_of_tensor(self, name: str) -> Group:
        """The group of the module a parameter, buffer or stored part belongs to."""
        return self.group(name.rpartition(".")[0])

    @property
    def parameters(self) -> int:
        """Weights of the model; tied ones once."""
        return sum(_count(shape) for shape in self.shapes.values())

    @property
    def body_parameters(self) -> int:
        """Weights outside embeddings (token and position tables) and output layer."""
        return sum(_count(s) for name, s in self.shapes.items() if self.group_of_tensor(name) == "body")


def build_skeleton(folder: Path) -> Skeleton:
    """The architecture that a model folder's config describes.

    Raises:
        ModelError: no config, or an architecture that is no causal language model of Transformers.
    """
    file = folder if folder.is_file() else folder / "config.json"
    read_config(folder)
    stat = file.stat()
    return _build(folder, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _build(folder: Path, _mtime_ns: int, _size: int) -> Skeleton:
    from transformers import AutoConfig, AutoModelForCausalLM

    from kbit.models.latent import register

    register()
    given = read_config(folder)
    try:
        if folder.is_file():
            config = AutoConfig.for_model(**given)
        else:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each architecture checks its config in its own way
        raise ModelError(
            f"{folder}: Transformers cannot read its config: {_first_line(error)} If the architecture is "
            "newer than your Transformers, upgrade it."
        ) from error
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(
            f"{folder}: {given['model_type']!r} is no causal language model: kbit quantises what "
            "AutoModelForCausalLM loads."
        )
    dense = copy.deepcopy(config)
    if hasattr(dense, "quantization_config"):
        del dense.quantization_config
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(dense)
    except Exception as error:
        raise ModelError(
            f"{folder}: the architecture cannot be built from its config: {_first_line(error)} Check the "
            "values in config.json."
        ) from error
    return skeleton_of(model)


def skeleton_of(model: Any) -> Skeleton:
    """The skeleton of a dense model (on any device)."""
    tied = dict(model.all_tied_weights_keys)
    shapes = {
        name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False) if name not in tied
    }
    names = {id(module): name for name, module in model.named_modules()}
    head = model.get_output_embeddings()
    embedding = names[id(model.get_input_embeddings())]
    embeddings = {name for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    head_name = None if head is None else names[id(head)]
    if head_name is not None:
        embeddings.add(head_name)
    return Skeleton(
        model=model,
        tied=tied,
        shapes=shapes,
        embedding=embedding,
        head=head_name,
        _embeddings=frozenset(embeddings),
    )


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # A validation error says which validator on its first line and what is wrong on the next.
    text = lines[1].strip() if len(lines) > 1 and lines[0].endswith(":") else lines[0]
    return text if text.endswith(".") else text + "."
