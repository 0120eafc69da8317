"""A byte-fallback BPE tokeniser that gives every text back exactly.

No normaliser and no space marker: tokens are pieces of the text itself, and what the vocabulary lacks is
spelled in bytes, so decoding is the inverse of encoding for every Unicode text. The names of special tokens
mean nothing inside a text (`split_special_tokens`). Encoding prefixes BOS, as Llama's does.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteFallback, Fuse
from tokenizers.decoders import Sequence as DecoderSequence
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from kbit.corpus.document import Document
from kbit.errors import TrainingError

BOS, EOS = "<s>", "</s>"
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
ASCII = (*map(chr, range(32, 127)), "\n", "\t")
LEAST_VOCABULARY = 512
# A word with the space before it; up to three digits; marks; a line break with the indentation after it.
_PIECES = r" ?[\p{L}\p{M}_]+|\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}_]+|\s*\n[ \t]*|\s+(?!\S)|\s+"


def train_tokenizer(
    documents: Iterable[Document], *, vocabulary: int, alphabet: int = len(ASCII)
) -> PreTrainedTokenizerFast:
    """Train on the texts of documents; the result depends on nothing else.

    Args:
        documents: training documents only.
        vocabulary: number of tokens in all: BOS, EOS, 256 bytes, characters and merges; 512 or more.
        alphabet: characters that have tokens: printable ASCII, line break and tab, then the most frequent
            others up to this number. Raise it for scripts other than Latin.

    Returns:
        A tokenizer with `vocabulary` tokens that saves as an ordinary folder.

    Raises:
        TrainingError: the vocabulary is too small, or the text too short to fill it.
    """
    if vocabulary < LEAST_VOCABULARY:
        raise TrainingError(
            f"a vocabulary of {vocabulary} is too small: 258 tokens are BOS, EOS and the bytes. "
            f"Give {LEAST_VOCABULARY} or more."
        )
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = Split(Regex(_PIECES), "isolated")
    fixed = [BOS, EOS, *BYTE_TOKENS]
    trainer = BpeTrainer(
        vocab_size=vocabulary - len(fixed),
        initial_alphabet=list(ASCII),
        limit_alphabet=max(alphabet, len(ASCII)),
        show_progress=False,
        special_tokens=[],
    )
    learner.train_from_iterator((document.text for document in documents), trainer)
    learnt = json.loads(learner.to_str())["model"]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    if len(fixed) + len(pieces) < vocabulary:
        raise TrainingError(
            f"the text yields {len(fixed) + len(pieces)} tokens, fewer than the vocabulary of {vocabulary}. "
            "Train on more text or ask for a smaller vocabulary."
        )
    clash = set(fixed).intersection(pieces)
    if clash:
        raise TrainingError(f"the text makes tokens that are reserved: {sorted(clash)}. Remove them from it.")
    model = BPE(
        vocab={piece: i for i, piece in enumerate([*fixed, *pieces])},
        merges=[(left, right) for left, right in learnt["merges"]],
        byte_fallback=True,
        fuse_unk=False,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = Split(Regex(_PIECES), "isolated")
    tokenizer.decoder = DecoderSequence([ByteFallback(), Fuse()])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, 0), (EOS, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Read a tokenizer that `train_tokenizer` made and `save_pretrained` wrote."""
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
