"""Safetensors files: against the reference implementation, and damaged in every way."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from kbit.errors import ModelError
from kbit.models.safetensors_header import TensorSpec, read_header
from kbit.models.safetensors_read import read_folder_tensors
from kbit.models.safetensors_write import SafetensorsWriter

TENSORS = {
    "codes": torch.arange(35, dtype=torch.uint8).reshape(5, 7),
    "half": torch.randn(3, 5).half(),
    "brain": torch.randn(2, 3, 4).bfloat16(),
    "single": torch.randn(11),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 4),
    "long": torch.tensor([2**40, -1]),
}


def specs(tensors):
    return [TensorSpec(name=n, dtype=t.dtype, shape=tuple(t.shape)) for n, t in tensors.items()]


def test_reads_what_the_reference_implementation_writes(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    folder = read_folder_tensors(tmp_path)
    assert folder.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        read = folder.read(name)
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)
        joined = b"".join(folder.chunks(name, chunk_bytes=3))
        assert joined == tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    assert torch.equal(folder.read_rows("codes", 1, 4), TENSORS["codes"][1:4])
    assert torch.equal(folder.read_rows("codes", 3, None), TENSORS["codes"][3:])


def test_writes_what_the_reference_implementation_reads(tmp_path):
    file = tmp_path / "model.safetensors"
    with SafetensorsWriter(file, specs(TENSORS)) as writer:
        for name in reversed(TENSORS):  # any order
            writer.write(name, TENSORS[name])
    loaded = load_file(file)
    assert loaded.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    for stored in read_header(file).values():
        assert stored.offset_bytes % stored.spec.dtype.itemsize == 0


def test_a_transposed_tensor_is_written_in_its_own_order(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3).T
    with SafetensorsWriter(tmp_path / "x.safetensors", specs({"t": tensor})) as writer:
        writer.write("t", tensor)
    assert torch.equal(load_file(tmp_path / "x.safetensors")["t"], tensor)


def test_a_tensor_never_written_or_of_another_shape_is_an_error(tmp_path):
    said = pytest.raises(ModelError, match="'b' was announced and never written")
    with said, SafetensorsWriter(tmp_path / "1", specs({"b": torch.zeros(2)})):
        pass
    with SafetensorsWriter(tmp_path / "2", specs({"b": torch.zeros(2)})) as writer:
        with pytest.raises(ModelError, match=r"announced as torch.float32 \[2\] and came as"):
            writer.write("b", torch.zeros(3))
        writer.write("b", torch.zeros(2))


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_a_truncated_file_is_found_by_its_header(tmp_path, cut):
    file = tmp_path / "model.safetensors"
    save_file({"w": torch.randn(40, 4)}, file)
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(ModelError, match="truncated: its header describes"):
        read_folder_tensors(tmp_path)


def damaged(content: bytes, how: str) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if how == "too long":
        return content + b"x"
    if how == "empty":
        return b""
    if how == "cut in the header":
        return content[:30]
    if how == "no JSON":
        return content[:8] + b"\xff" * length + content[8 + length :]
    if how == "hole":
        for entry in header.values():
            entry["data_offsets"] = [o + 4 for o in entry["data_offsets"]]
    if how == "shape":
        header["w"]["shape"][0] += 1
    if how == "type":
        header["w"]["dtype"] = "F4"
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("too long", "too long"),
        ("empty", "not a whole safetensors file"),
        ("cut in the header", "not a whole safetensors file"),
        ("no JSON", "not that of a safetensors file"),
        ("hole", "a hole or an overlap"),
        ("shape", "cannot take"),
        ("type", "data type 'F4'; kbit reads"),
    ],
)
def test_damage_is_told_apart(tmp_path, how, says):
    file = tmp_path / "model.safetensors"
    save_file({"w": torch.randn(4, 4)}, file)
    file.write_bytes(damaged(file.read_bytes(), how))
    with pytest.raises(ModelError, match=says):
        read_folder_tensors(tmp_path)


def shards(folder, weight_map=None):
    save_file({"a": torch.ones(3)}, folder / "model-1.safetensors")
    save_file({"b": torch.zeros(2, 2)}, folder / "model-2.safetensors")
    weight_map = weight_map or {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_read_through_their_index(tmp_path):
    shards(tmp_path)
    folder = read_folder_tensors(tmp_path)
    assert torch.equal(folder.read("a"), torch.ones(3))
    assert torch.equal(folder.read("b"), torch.zeros(2, 2))


def test_a_missing_shard_or_a_wrong_index_is_named(tmp_path):
    shards(tmp_path)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(ModelError, match=r"shard 'model-2.safetensors'.* is missing"):
        read_folder_tensors(tmp_path)
    shards(tmp_path, {"a": "model-1.safetensors", "b": "model-1.safetensors"})
    with pytest.raises(ModelError, match="names 'b'"):
        read_folder_tensors(tmp_path)
    shards(tmp_path, {"b": "model-1.safetensors"})
    with pytest.raises(ModelError, match="holds 'a', which"):
        read_folder_tensors(tmp_path)
    shards(tmp_path, {"a": "../elsewhere.safetensors"})
    with pytest.raises(ModelError, match="outside the folder"):
        read_folder_tensors(tmp_path)


def test_pickles_are_refused_with_the_remedy(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"only as pickle \(pytorch_model.bin\).*save_pretrained"):
        read_folder_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"has no model.safetensors"):
        read_folder_tensors(tmp_path)
