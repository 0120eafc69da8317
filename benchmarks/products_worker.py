"""One contestant of `products.py` in a process of its own: multiplies matrices whenever standard input asks.

    PYTHON benchmarks/products_worker.py KIND FORMAT ROWS COLS COUNT INPUTS THREADS

KIND multiplies COUNT distinct matrices [ROWS, COLS] with INPUTS rows of bfloat16 activations. A first line
tells its bits a weight as JSON; then each line of input, a number of rounds, is answered by the seconds that
they took.
"""

import copy
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is multiplied: `format` is kbit's, or the peer's own word."""

    format: str
    rows: int
    cols: int
    count: int
    inputs: int


def kbit(task: Task) -> tuple[list[Call], float]:
    """The core's products as a layer makes them; `:a8` at a format's end rounds activations to 8 bits."""
    import torch

    from kbit.formats import encode, parse_format
    from kbit.kernels import product

    text, numerics = (task.format[:-3], "a8") if task.format.endswith(":a8") else (task.format, "a16")
    first = encode(torch.randn(task.rows, task.cols), parse_format(text))
    x = torch.randn(task.inputs, task.cols).bfloat16()
    weights = []
    for _ in range(task.count):
        weights.append(copy.deepcopy(first))
    bits = first.stored_size.total / task.rows / task.cols
    return [lambda w=w: product(x, w, numerics=numerics) for w in weights], bits


def torch_bf16(task: Task) -> tuple[list[Call], float]:
    """PyTorch's dense bfloat16 linear layer."""
    return of_layers(task, lambda layer: layer)


def bitsandbytes(task: Task) -> tuple[list[Call], float]:
    """Linear4bit (nf4 in blocks of 64) or Linear8bitLt."""
    import torch
    from bitsandbytes import nn

    def change(layer: Any) -> Any:
        if task.format == "nf4":
            made = nn.Linear4bit(
                task.cols, task.rows, bias=False, compute_dtype=torch.bfloat16, compress_statistics=False,
                quant_type="nf4",
            )  # fmt: skip
            made.weight = nn.Params4bit(
                layer.weight.data, requires_grad=False, compress_statistics=False, quant_type="nf4"
            )
        else:
            made = nn.Linear8bitLt(task.cols, task.rows, bias=False, has_fp16_weights=False)
            made.weight = nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
        return made.to("cpu")

    return of_layers(task, change)


def torchao(task: Task) -> tuple[list[Call], float]:
    """Int8 weights under torch.compile, or int4 in groups of 64."""
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    def change(layer: Any) -> Any:
        box = torch.nn.Sequential(layer)
        if task.format == "int8":
            quantize_(box, Int8WeightOnlyConfig())
            return torch.compile(box[0])
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

        quantize_(box, PrototypeInt4WeightOnlyConfig(group_size=64))
        return box[0]

    return of_layers(task, change)


def quanto(task: Task) -> tuple[list[Call], float]:
    """Weights of qint8, qint4 or qint2."""
    import optimum.quanto as library
    import torch

    def change(layer: Any) -> Any:
        box = torch.nn.Sequential(layer)
        library.quantize(box, weights=getattr(library, f"q{task.format}"))
        library.freeze(box)
        return box[0]

    return of_layers(task, change)


def of_layers(task: Task, change: Callable[[Any], Any]) -> tuple[list[Call], float]:
    """Linear layers without bias, each changed into the peer's."""
    import torch

    x = torch.randn(task.inputs, task.cols).bfloat16()
    layers = []
    for _ in range(task.count):
        layer = torch.nn.Linear(task.cols, task.rows, bias=False).bfloat16()
        layer.weight.requires_grad_(False)
        layers.append(change(layer))
    bits = {"bf16": 16.0, "int8": 8.0, "int4": 4.25, "nf4": 4.5, "int2": 2.25}[task.format]
    return [lambda layer=layer: layer(x) for layer in layers], bits


KINDS: dict[str, Callable[[Task], tuple[list[Call], float]]] = {
    "kbit": kbit,
    "torch": torch_bf16,
    "bitsandbytes": bitsandbytes,
    "torchao": torchao,
    "quanto": quanto,
}


def main() -> None:
    kind, text, *numbers = sys.argv[1:]
    rows, cols, count, inputs, threads = map(int, numbers)
    out = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        calls, bits = KINDS[kind](Task(format=text, rows=rows, cols=cols, count=count, inputs=inputs))
        for call in calls:
            call()
        print(json.dumps({"bits": bits}), file=out, flush=True)
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(int(line)):
                for call in calls:
                    call()
            print(time.perf_counter() - start, file=out, flush=True)


if __name__ == "__main__":
    main()
