"""Folders in the layouts of other tools, written by hand from their definitions, and what they stand for."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

GROUP = 32
# Place of each of the eight codes of a word in AWQ's files.
AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]


def words(codes: torch.Tensor, order: list[int] | None = None) -> torch.Tensor:
    """4-bit codes [..., 8 n] to int32 [..., n]; the first lies lowest, or in the place `order` gives it."""
    parts = codes.to(torch.int64).reshape(*codes.shape[:-1], -1, 8)
    places = torch.tensor(order or list(range(8)))
    found = (parts << (4 * places)).sum(dim=-1)
    return torch.where(found >= 1 << 31, found - (1 << 32), found).to(torch.int32)


def write_layout(source: Path, out: Path, tool: str, *, act_order: bool = False) -> dict[str, torch.Tensor]:
    """Write `source` with random 4-bit codes, groups of 32, as GPTQ, AWQ or compressed-tensors would.

    Returns:
        The dense state the folder stands for, float32.
    """
    state = load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    generator = torch.Generator().manual_seed(1)
    made, dense = {}, {}
    for name, weight in state.items():
        layer = name.removesuffix(".weight")
        if not layer.endswith("_proj"):
            made[name], dense[name] = weight, weight.float()
            continue
        rows, columns = weight.shape
        groups = columns // GROUP
        codes = torch.randint(0, 16, (rows, columns), generator=generator)
        zeros = torch.randint(1, 16, (rows, groups), generator=generator)
        scales = (0.01 + 0.02 * torch.rand(rows, groups, generator=generator)).half()
        if tool == "compressed-tensors":
            zeros = torch.full_like(zeros, 8)
            scales = scales.to(torch.bfloat16)
        of_column = torch.arange(columns) // GROUP
        if act_order:
            of_column = of_column[torch.randperm(columns, generator=generator)]
        dense[name] = (codes - zeros[:, of_column]) * scales.float()[:, of_column]
        if tool == "gptq":
            made[f"{layer}.qweight"] = words(codes).T.contiguous()
            # The first version of the layout stores the zero less one.
            made[f"{layer}.qzeros"] = words((zeros - 1).T)
            made[f"{layer}.scales"] = scales.T.contiguous()
            made[f"{layer}.g_idx"] = of_column.to(torch.int32)
        elif tool == "awq":
            made[f"{layer}.qweight"] = words(codes.T, AWQ_ORDER)
            made[f"{layer}.qzeros"] = words(zeros.T, AWQ_ORDER)
            made[f"{layer}.scales"] = scales.T.contiguous()
        else:
            made[f"{layer}.weight_packed"] = words(codes)
            made[f"{layer}.weight_scale"] = scales
            made[f"{layer}.weight_shape"] = torch.tensor([rows, columns])
    out.mkdir()
    save_file(made, out / "model.safetensors", {"format": "pt"})
    settings = {
        "gptq": {"bits": 4, "group_size": GROUP, "desc_act": act_order, "sym": False, "format": "gptq"},
        "awq": {"bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm", "format": "gemm"},
        "compressed-tensors": {
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "format": "pack-quantized",
                    "weights": {
                        "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group",
                        "group_size": GROUP, "dynamic": False,
                    },
                }
            },
        },
    }  # fmt: skip
    config["quantization_config"] = {"quant_method": tool, **settings[tool]}
    (out / "config.json").write_text(json.dumps(config))
    return dense
