"""What is coded of each layer: its weight as the plan's record says, read when asked for."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kbit.models.experts import split_expert
from kbit.models.record import LayerRecord
from kbit.models.safetensors_read import FolderTensors
from kbit.models.skeleton import Skeleton
from kbit.quantize.inputs import ChangedInputs, change_inputs
from kbit.quantize.plan import Plan, PlannedTensor
from kbit.quantize.previous_layer import input_spread


class CodedWeights:
    """Reads weights of a source model in the orientation and with the inputs that are coded.

    Args of the constructor:
        tensors: the source's files.
        plan: which tensor is which layer's.
        skeleton: its architecture.
        config: its `config.json`.
    """

    def __init__(
        self, tensors: FolderTensors, plan: Plan, skeleton: Skeleton, config: Mapping[str, Any]
    ) -> None:
        self._tensors, self._skeleton, self._config = tensors, skeleton, config
        self._source: dict[str, PlannedTensor] = {}
        for planned in plan.tensors:
            name = planned.specs[0].name if planned.record is None else f"{planned.record.name}.weight"
            self._source[name.removesuffix(".weight")] = planned

    def weight(self, module: str) -> Tensor:
        """A module's weight as [outputs, inputs]."""
        from transformers.pytorch_utils import Conv1D

        planned = self._source[module]
        weight = planned.read(self._tensors)
        if planned.record is not None and split_expert(module):
            return weight
        transposed = isinstance(self._skeleton.model.get_submodule(module), Conv1D)
        return weight.T.contiguous() if transposed else weight

    def coded(self, record: LayerRecord, weight: Tensor | None = None) -> ChangedInputs:
        """The weight of a layer as it is coded, and the input parts beside it.

        Args:
            record: from the plan.
            weight: [rows, columns] if it was read already.
        """
        weight = self.weight(record.name) if weight is None else weight
        spread = None
        if record.kept_inputs:
            embedding = self._skeleton.embedding
            spread = input_spread(
                record.name, record.shape[1], self._config, embedding, self.weight, self._source
            )
        return change_inputs(record, weight, spread)
