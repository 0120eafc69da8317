"""Peak resident memory while a k-bit model is loaded, against what it stores.

    python benchmarks/memory.py --shape 1.1b --format nf4:b64

A child process imports what loading needs and notes its memory, then loads; the peak is the kernel's own
figure (VmHWM of /proc/self/status, maps of files among it).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from random_models import SHAPES, config, packed

from kbit import __version__
from kbit.models import stored_bits
from kbit.models.record_config import records_to_config
from kbit.models.write import write_config

CHILD = """
import json, re, sys
from pathlib import Path

def status(key):
    return 1024 * int(re.search(rf"^{key}:\\s+(\\d+)", Path("/proc/self/status").read_text(), re.M)[1])

import torch, transformers
from transformers import LlamaForCausalLM
import kbit.hf
from kbit.models import load
before = status("VmRSS")
model = load(sys.argv[1])
found = {"interpreter_bytes": before, "peak_bytes": status("VmHWM"), "resident_bytes": status("VmRSS")}
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    parser.add_argument("--format", default="nf4:b64")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.shape, arguments.format)
        print(json.dumps(measure(Path(folder)), indent=1))


def write(folder: Path, shape: str, text: str) -> None:
    """A folder with random codes, without ever a dense weight."""
    from safetensors.torch import save_file

    model, records = packed(shape, text)
    state = dict(model.state_dict())
    parts: dict[str, Any] = {}
    for name, module in model.named_modules():
        if hasattr(module, "parts"):
            parts |= {f"{name}.{part}": tensor for part, tensor in module.parts().items()}
    save_file({**state, **parts}, folder / "model.safetensors", metadata={"format": "pt"})
    about = {
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        "quantization_config": records_to_config(records, kbit_version=__version__),
    }
    write_config(folder, config(shape).to_dict() | about)


def measure(folder: Path) -> dict[str, Any]:
    """What a fresh process needs to load it, beside what it stores and what the issue allows."""
    stored_bytes = stored_bits(folder).whole // 8
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    peak = found["peak_bytes"] - found["interpreter_bytes"]
    return {
        "stored_bytes": stored_bytes,
        **found,
        "peak_over_interpreter_bytes": peak,
        "ratio_to_stored": peak / stored_bytes,
        "allowed": 1.15,
    }


if __name__ == "__main__":
    main()
