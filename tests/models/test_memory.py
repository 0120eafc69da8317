"""A k-bit model in memory holds no dense copy: resident memory grows by what is stored and 10%."""

import json
import subprocess
import sys

import pytest
import torch

from kbit.models import load, stored_bits
from kbit.models.stored_weight import StoredWeight
from kbit.quantize import quantize_model

# Proportional set size of this process, with its maps of files: what the model costs the machine.
PROGRAM = """
import ctypes, gc, json, re, sys, torch
from pathlib import Path
from kbit.models import load

def resident_bytes():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return 1024 * int(re.search(r"^Pss:\\s+(\\d+)", Path("/proc/self/smaps_rollup").read_text(), re.M)[1])

tokens = torch.tensor([[1, 2, 3]])
with torch.no_grad():
    warm = load(sys.argv[1])
    warm(tokens)
before = resident_bytes()
model = load(sys.argv[2])
loaded = resident_bytes() - before
with torch.no_grad():
    model(tokens)
ran = resident_bytes() - before
for parameter in model.parameters():  # a load maps the file: its pages come when they are read
    parameter.double().sum()
print(json.dumps({"loaded": loaded, "ran": ran, "read": resident_bytes() - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/smaps_rollup")
def test_resident_memory_grows_by_stored_bytes_and_a_tenth(tiny, tmp_path):
    # The first model is as wide as the second, so that buffers libraries keep for a width are there before.
    wide = {"hidden_size": 768, "intermediate_size": 3072, "vocab_size": 4096}
    for name, layers in (("small", 1), ("large", 8)):
        source = tiny.write_model(tmp_path / name, "llama", num_hidden_layers=layers, **wide)
        out = source.with_suffix(".k")
        quantize_model(source, out, format="nf4:b64", embeddings="int8:b64", head="int8:b64")
    stored_bytes = stored_bits(tmp_path / "large.k").whole // 8
    assert stored_bytes > 40e6
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "small.k"), str(tmp_path / "large.k")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown = json.loads(done.stdout)
    assert all(value < 1.1 * stored_bytes for value in grown.values()), (grown, stored_bytes)
    assert grown["read"] > 0.9 * stored_bytes, (grown, stored_bytes)


def test_no_resident_tensor_is_dense(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "llama-tied", hidden_size=64)
    out = quantize_model(source, tmp_path / "out", format="nf4:b64", embeddings="nf6:b64").out
    model = load(out)
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))
    resident = [*model.parameters(), *model.buffers()]
    resident += [t for m in model.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)]
    # Everything of two dimensions was packed, so no floating point of two dimensions may be left.
    assert not [t.shape for t in resident if t.is_floating_point() and t.ndim > 1]
    for module in model.modules():
        if isinstance(module, StoredWeight):
            assert max(p.nbytes for p in module.parameters()) < module.record.weights
