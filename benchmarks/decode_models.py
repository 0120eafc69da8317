"""Models with random weights on disk, for `decode.py`: a bfloat16 folder, k-bit folders, and GGUF files.

    python benchmarks/decode_models.py --shape 134m --out FOLDER [--formats int4:b64 …] \
        [--gguf-python PYTHON --llama-quantize TOOL]

FOLDER/bf16, FOLDER/int4-b64 and so on, FOLDER/F16.gguf, FOLDER/Q4_0.gguf and so on; what is there is kept.
The GGUF files need an interpreter that imports `gguf`, and llama.cpp's tool.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from random_models import SHAPES, config, dense, packed

GGUF_TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_0", "Q4_K_M", "Q2_K", "Q3_K_M", "IQ4_XS")
FORMATS = tuple(f"int{bits}:b64" for bits in (2, 3, 4, 5, 6, 8))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--formats", nargs="*", default=FORMATS)
    parser.add_argument("--gguf-python", help="an interpreter with the package gguf")
    parser.add_argument("--llama-quantize", help="llama.cpp's tool")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    dense_folder = options.out / "bf16"
    if not dense_folder.exists():
        partial = options.out / "bf16.partial"
        dense(options.shape).save_pretrained(partial)
        partial.rename(dense_folder)
    for text in options.formats:
        folder = options.out / text.replace(":", "-")
        if not folder.exists():
            print(folder, file=sys.stderr)
            write_packed(options.shape, text, folder)
    if not options.gguf_python or not options.llama_quantize:
        return
    first = options.out / "F16.gguf"
    if not first.exists():
        gguf_script = [options.gguf_python, __file__.replace("_models", "_gguf"), dense_folder, first]
        subprocess.run([str(part) for part in gguf_script], check=True)
    for kind in GGUF_TYPES:
        target, partial = options.out / f"{kind}.gguf", options.out / f"{kind}.partial"
        if not target.exists():
            print(target, file=sys.stderr)
            command = [options.llama_quantize, first, partial, kind, "2"]
            subprocess.run([str(part) for part in command], check=True, capture_output=True)
            partial.rename(target)


def write_packed(shape: str, text: str, folder: Path) -> None:
    """A k-bit folder as `kbit quantize` writes it, its codes random."""
    from kbit import __version__
    from kbit.models.atomic_folder import new_folder
    from kbit.models.record_config import records_to_config
    from kbit.models.safetensors_header import TensorSpec
    from kbit.models.stored_parts import part_specs
    from kbit.models.write import FolderWriter, write_config, write_readme

    model, records = packed(shape, text)
    stored = {spec.name: spec.dtype for record in records for spec in part_specs(record).values()}
    # Scales lie in the modules as integers of their width.
    tensors = {
        name: tensor.view(stored.get(name, tensor.dtype)) for name, tensor in model.state_dict().items()
    }
    specs = [TensorSpec(name=n, dtype=t.dtype, shape=tuple(t.shape)) for n, t in tensors.items()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    facts: dict[str, Any] = json.loads(config(shape).to_json_string(use_diff=False))
    facts |= {
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        "quantization_config": records_to_config(records, kbit_version=__version__),
    }
    with new_folder(folder, needed_bytes=size) as temporary:
        write_config(temporary, facts)
        write_readme(temporary, text, packed=True)
        with FolderWriter(temporary, specs) as writer:
            for name, tensor in tensors.items():
                writer.write(name, tensor)


if __name__ == "__main__":
    main()
