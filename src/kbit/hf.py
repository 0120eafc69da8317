"""Importing this module teaches Transformers to load k-bit folders.

    import kbit.hf
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained("folder")

Without the import Transformers warns of an unknown quantisation type and loads *random weights*.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers.quantizers.auto import (
    AUTO_QUANTIZATION_CONFIG_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from kbit.models.latent import register as register_latent
from kbit.models.record_config import QUANT_METHOD, records_from_config
from kbit.models.stored_weight import StoredWeight
from kbit.models.swap import swap_modules


class KbitConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """`quantization_config` of a k-bit folder: layer records, checked as soon as they are read."""

    # Transformers makes it as KbitConfig(**dict), with whatever the file holds.
    def __init__(self, **kwargs: Any) -> None:
        self.quant_method = QUANT_METHOD
        self.stored = dict(kwargs)
        self.records = records_from_config(self.stored)

    def to_dict(self) -> dict[str, Any]:
        """What stands in `config.json`."""
        return dict(self.stored)


class KbitQuantizer(HfQuantizer):  # type: ignore[misc]
    """Swaps k-bit modules in before the weights are loaded; quantising itself is `kbit quantize`."""

    requires_calibration = True  # so that from_pretrained refuses to quantise a dense model on the fly

    def is_serializable(self) -> bool:
        """`save_pretrained` writes the folder again, tensor for tensor."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Adapters on top can be trained: gradients pass through; the codes themselves stay."""
        return True

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        """Nothing is quantised while loading."""
        return False

    def get_new_dtype(self, converter: Any, param: Any, dtype: torch.dtype | None) -> torch.dtype | None:
        """Stored parts keep the type they have on disk; everything else takes the model's."""
        targets = getattr(converter, "target_patterns", ())
        if any(target in self._parts for target in targets):
            return None
        return super().get_new_dtype(converter, param, dtype)  # type: ignore[no-any-return]

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        swap_modules(model, self.quantization_config.records, dtype=kwargs.get("dtype"))
        self._parts = {
            f"{name}.{part}"
            for name, module in model.named_modules()
            if isinstance(module, StoredWeight)
            for part in module.parts()
        }
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        for module in model.modules():
            if isinstance(module, StoredWeight):
                module.settle()
        return model

    def get_state_dict_and_metadata(self, model: Any) -> tuple[Mapping[str, torch.Tensor], dict[str, str]]:
        """The state dict with every part in the type it has on disk."""
        state = dict(model.state_dict())
        for name, module in model.named_modules():
            if isinstance(module, StoredWeight):
                state |= {f"{name}.{part}": tensor for part, tensor in module.parts().items()}
        return state, {}

    def _dequantize(self, model: Any, dtype: torch.dtype | None = None) -> Any:
        from kbit.models.dense import make_dense

        return make_dense(model, dtype=dtype)


def register() -> None:
    """Register with Transformers; a second call changes nothing."""
    if QUANT_METHOD not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        register_quantization_config(QUANT_METHOD)(KbitConfig)
        register_quantizer(QUANT_METHOD)(KbitQuantizer)
    register_latent()


register()
