"""The models of a study: what their configs and headers say, before a weight is loaded."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kbit.errors import ModelError, StudyError, did_you_mean
from kbit.models import ModelFolder, StoredBits, cache_facts, open_model
from kbit.models.content import tokenizer_files
from kbit.models.safetensors_read import read_folder_tensors
from kbit.models.skeleton import Group, build_skeleton
from kbit.quantize.plan import Choice, make_plan
from kbit.study.study import Study
from kbit.study.texts import LADDER

DEFAULT_CONTEXT = 2048
LATENT = "kbit_latent"
# `pythia-160m`, `opt-1.3b`, `rung-3`: what a name ends with when it says a size.
_SIZE = re.compile(r"[-_.]?\d+([._]\d+)?\s*[kmbt]?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """One model, as far as it is known without its weights.

    Attributes:
        path: its folder.
        name: what tables call it; `family` what it shares with models of other sizes.
        content: hash of tensors and config; `tokenizer` that of the tokeniser's files.
        parameters: weights, a tied one once; `parameters_body` without embeddings and output layer.
        tied: the output layer is the embedding.
        reference: the format of its 16-bit weights: its own where it is stored in 16 bits, else bf16; of
            another tool's model, `stored_as`.
        context: tokens it reads at once unless a study says otherwise.
        architecture: sizes that memory for generation follows from.
        stored_as: what another tool has stored it as (`gguf:q4_k`): it is measured so, at no other format.
        pieces: of a model with a latent space, how it cuts documents; None of a model that reads tokens.
    """

    path: Path
    name: str
    family: str
    content: str
    tokenizer: str
    parameters: int
    parameters_body: int
    tied: bool
    reference: str
    context: int
    architecture: Mapping[str, int | None]
    stored_as: str | None = None
    pieces: str | None = None

    def stored_bits(self, choice: Choice) -> StoredBits:
        """What the model takes in a format, from shapes; exactly what `quantize_model` writes.

        Raises:
            UsageError: the format does not fit the architecture.
            ModelError: the files do not.
        """
        skeleton = build_skeleton(self.path)
        planned = make_plan(self.path, skeleton, read_folder_tensors(self.path), choice)
        bits: Counter[Group] = Counter()
        for tensor in planned.tensors:
            for spec in tensor.specs:
                group = skeleton.group_of_tensor(spec.name)
                bits[group] += 8 * spec.size_bytes
        return StoredBits(
            body=bits["body"],
            embeddings=bits["embeddings"],
            body_weights=self.parameters_body,
            embeddings_weights=self.parameters - self.parameters_body,
        )


def model_facts(study: Study) -> Iterator[ModelFacts]:
    """The models a study names, in its order.

    Raises:
        StudyError: the ladder has no such rung, or a folder holds a k-bit model already.
        ModelError: no such model, or a broken one.
    """
    entries = [entry for given in study.models for entry in resolved(given, study)]
    names = _names([name for name, _ in entries])
    for name, (_, location) in zip(names, entries, strict=True):
        folder = open_model(location)
        if folder.records:
            raise StudyError(
                f"{study.file}: {name} is a k-bit model already. Name its 16-bit original: `formats` says to "
                "what it is quantised."
            )
        yield facts_of(folder, name, family=study.family)


def facts_of(folder: ModelFolder, name: str, *, family: str | None = None) -> ModelFacts:
    """What is known of a 16-bit folder; its family is told from its name where it is not given."""
    architecture = cache_facts(folder.config)
    longest = architecture.get("max_context")
    return ModelFacts(
        path=folder.path,
        name=name,
        family=family or family_of(name),
        content=folder.content_hash,
        tokenizer=folder.content_hash if folder.path.is_file() else tokenizer_hash(folder.path),
        parameters=folder.parameters,
        parameters_body=folder.body_parameters,
        tied=bool(build_skeleton(folder.path).tied),
        reference=folder.foreign_format or _reference(folder.path),
        stored_as=folder.foreign_format,
        context=min(longest or DEFAULT_CONTEXT, DEFAULT_CONTEXT),
        architecture=architecture,
        pieces=str(folder.config["pieces"]) if folder.config.get("model_type") == LATENT else None,
    )


def family_of(name: str) -> str:
    """What is left of a model's name without the size it ends with.

    >>> [family_of(n) for n in ("EleutherAI/pythia-160m", "rung-3", "opt-1.3b", "stories260K", "gpt2")]
    ['EleutherAI/pythia', 'rung', 'opt', 'stories', 'gpt']
    """
    return _SIZE.sub("", name) or name


def tokenizer_hash(folder: Path) -> str:
    """SHA-256 over a tokeniser's files: with other tokens the same weights give another code length."""
    digest = hashlib.sha256(b"kbit tokenizer files 1\n")
    for file in tokenizer_files(folder):
        if not file.name.startswith("chat_template"):  # says how to talk, not how to cut text
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.name} {content}\n".encode())
    return digest.hexdigest()


def _reference(folder: Path) -> str:
    sizes: Counter[torch.dtype] = Counter()
    for tensor in read_folder_tensors(folder).tensors.values():
        sizes[tensor.spec.dtype] += tensor.spec.size_bytes
    return "fp16" if sizes and sizes.most_common(1)[0][0] == torch.float16 else "bf16"


def resolved(entry: str, study: Study) -> list[tuple[str, Path | str]]:
    """Names and places of what one entry of `models` stands for."""
    if entry.startswith(LADDER):
        return _rungs(entry, study)
    folder = study.folder / Path(entry).expanduser()
    if folder.is_dir():
        return [(folder.resolve().name, folder)]
    if folder.is_file():
        return [(folder.stem, folder)]  # a GGUF file, or refused when it is opened
    # What begins as a path does is not looked for on the hub.
    if entry.startswith((".", "/", "~")):
        raise ModelError(f"{study.file}: there is no model folder {folder}. Paths begin at the study file.")
    return [(entry, entry)]


def _rungs(entry: str, study: Study) -> list[tuple[str, Path | str]]:
    from kbit import ladder

    rungs = {Path(folder).name: Path(folder) for folder in ladder.rungs()}
    name = entry.removeprefix(LADDER)
    if name == "*":
        return list(rungs.items())
    if name not in rungs:
        raise StudyError(
            f"{study.file}: the shipped ladder has no model {entry!r}; "
            f"{did_you_mean(entry, [*(LADDER + r for r in rungs), LADDER + '*'])}"
        )
    return [(name, rungs[name])]


def _names(names: Sequence[str]) -> list[str]:
    """Names that tell models apart: a second `model` becomes `model#2`."""
    return [name if (n := names[:i].count(name)) == 0 else f"{name}#{n + 1}" for i, name in enumerate(names)]
