"""A Llama folder of Transformers as an F16 GGUF file that computes the same, for `gguf_logits.py`.

    python benchmarks/gguf_of_llama.py FOLDER OUT.gguf

Rows of queries and keys are put in llama.cpp's rotary order. The vocabulary is a stand-in of the right size,
sentencepiece with byte tokens, for llama.cpp has no tokeniser for the ladder's. Needs the gguf package.
"""

import json
import sys
from itertools import product
from pathlib import Path
from string import ascii_lowercase

import gguf
import numpy as np
from decode_gguf import name_of
from safetensors import safe_open

UNKNOWN, CONTROL, NORMAL, BYTE = 2, 3, 1, 6  # token types of GGUF


def write(folder: Path, out: Path) -> None:
    """Write the file."""
    config = json.loads((folder / "config.json").read_text())
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_vocabulary(writer, config["vocab_size"])
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 (no mapping)
            values = tensors.get_tensor(name).float().numpy()
            if "q_proj" in name or "k_proj" in name:
                of = heads if "q_proj" in name else shared
                halves = values.reshape(of, 2, -1, values.shape[1])
                values = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
            writer.add_tensor(name_of(name), values if values.ndim == 1 else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """Special tokens, bytes, letters and pairs of them, then fillers."""
    words = ["\u2581", *ascii_lowercase, *(f"\u2581{a}" for a in ascii_lowercase)]
    words += ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *words]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(words)]
    tokens += [f"filler{i}" for i in range(size - len(tokens))]
    kinds += [NORMAL] * (size - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
