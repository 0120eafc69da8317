"""k-bit layers and folders: load, save, generate."""

from kbit.models.cache_facts import cache_facts
from kbit.models.content import content_hash
from kbit.models.embedding import KbitEmbedding, KbitTiedHead
from kbit.models.folder import ModelFolder, open_model
from kbit.models.generation import Generated, generate
from kbit.models.linear import KbitLinear
from kbit.models.load import load, load_tokenizer
from kbit.models.locate import locate
from kbit.models.record import LayerRecord, Method, Rotation
from kbit.models.size import StoredBits, stored_bits

__all__ = [
    "Generated",
    "KbitEmbedding",
    "KbitLinear",
    "KbitTiedHead",
    "LayerRecord",
    "Method",
    "ModelFolder",
    "Rotation",
    "StoredBits",
    "cache_facts",
    "content_hash",
    "generate",
    "load",
    "load_tokenizer",
    "locate",
    "open_model",
    "stored_bits",
]
