"""What a model would take at k bits, from its config alone: no weight is there."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from kbit.errors import ModelError
from kbit.formats import WeightFormat
from kbit.models import StoredBits, cache_facts
from kbit.models.locate import locate_config, read_config
from kbit.models.record import Method
from kbit.models.safetensors_header import StoredTensor, TensorSpec
from kbit.models.safetensors_read import FolderTensors
from kbit.models.skeleton import Group, Skeleton, build_skeleton
from kbit.quantize.method import method_named
from kbit.quantize.plan import Choice, make_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigModel:
    """A model of which only the config is known.

    Attributes:
        name: the folder's, the hub id, or the file's without its ending.
        parameters: weights, a tied one once; `body_parameters` without embeddings and output layer.
        facts: sizes that memory for generation follows from (`kbit.models.cache_facts`).
    """

    name: str
    parameters: int
    body_parameters: int
    facts: dict[str, int | None]
    _skeleton: Skeleton = field(repr=False)

    def stored_bits(
        self,
        fmt: WeightFormat,
        *,
        method: str = "nearest",
        embeddings: WeightFormat | None = None,
        head: WeightFormat | None = None,
    ) -> StoredBits:
        """Bits of the folder that `quantize_model` would write with these settings, exactly.

        The 16-bit original is taken to lie in bfloat16, with tied tensors stored once.

        Raises:
            UsageError: the format does not fit the architecture, or the method does not exist.
        """
        chosen = method_named(method)
        packed = fmt.is_packed
        choice = Choice(
            format=fmt,
            embeddings=embeddings if packed else fmt,
            head=head if packed else fmt,
            method=Method(name=chosen.name, version=chosen.version),
        )
        plan = make_plan(Path(self.name), self._skeleton, _bf16_tensors(self._skeleton), choice)
        bits: Counter[Group] = Counter()
        for spec in plan.specs:
            bits[self._skeleton.group_of_tensor(spec.name)] += 8 * spec.size_bytes
        return StoredBits(
            body=bits["body"],
            embeddings=bits["embeddings"],
            body_weights=self.body_parameters,
            embeddings_weights=self.parameters - self.body_parameters,
        )


def config_model(given: str | Path) -> ConfigModel:
    """Read a config: a JSON file, a model folder, or a hub id, of which only `config.json` is fetched.

    Raises:
        ModelError: there is no such config, it is of a k-bit model, or no causal language model.
    """
    file = locate_config(given)
    name = file.parent.resolve().name if Path(given).expanduser().exists() else str(given)
    if file.name != "config.json":
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "config.json").write_bytes(file.read_bytes())
            return _model(Path(place), name=file.stem)
    return _model(file.parent, name=name)


def _model(folder: Path, *, name: str) -> ConfigModel:
    config = read_config(folder)
    if config.get("quantization_config") is not None:
        raise ModelError(
            f"{name}: its config is of a model that is quantised already. Give its 16-bit original."
        )
    skeleton = build_skeleton(folder)
    return ConfigModel(
        name=name,
        parameters=skeleton.parameters,
        body_parameters=skeleton.body_parameters,
        facts=cache_facts(config),
        _skeleton=skeleton,
    )


def _bf16_tensors(skeleton: Skeleton) -> FolderTensors:
    tensors = {
        name: StoredTensor(
            spec=TensorSpec(
                name=name,
                dtype=torch.bfloat16 if value.dtype.is_floating_point else value.dtype,
                shape=tuple(value.shape),
            ),
            file=Path(),
            offset_bytes=0,
        )
        for name, value in skeleton.model.state_dict().items()
        if name not in skeleton.tied
    }
    return FolderTensors(files=(), tensors=tensors)
