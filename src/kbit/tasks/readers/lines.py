"""Files of plain lines: two that belong together, dialogues, HellaSwag, WinoBias."""

import re
from collections.abc import Sequence
from pathlib import Path

from kbit.corpus import Example, Message
from kbit.corpus.asked import asked
from kbit.corpus.opening import ReadTally, lines_of, packed_suffix, text_pieces
from kbit.errors import CorpusError
from kbit.tasks.raw import Raw, Reading

END_OF_TURN = "__eou__"
HELLASWAG_LINES = 6
_WINOBIAS = re.compile(r"^\s*\d+\s+(.*)$")


def lines(path: Path) -> list[str]:
    """The lines of a text, packed or not."""
    return list(lines_of(text_pieces(path, encoding="utf-8", replace=False, tally=ReadTally())))


def inner_suffix(path: Path) -> str:
    """The suffix of what is in a file, without the dot: a language, often."""
    return (Path(path.stem) if packed_suffix(path) else path).suffix.lstrip(".")


def read_parallel(paths: Sequence[Path], how: Reading) -> list[Raw] | None:
    """Two files whose lines belong together: the text and its translation; None where there are not two.

    Raises:
        CorpusError: they differ in length; a line is empty.
    """
    if len(paths) != 2 or inner_suffix(paths[0]) in ("jsonl", "csv", "tsv", "json"):
        return None
    texts, wanted = (lines(path) for path in paths)
    if len(texts) != len(wanted):
        raise CorpusError(
            f"{paths[0]} has {len(texts)} lines and {paths[1]} {len(wanted)}: line by line they must belong "
            "together. Give a text and its translation."
        )
    found = []
    for number, (text, translation) in enumerate(zip(texts, wanted, strict=True), start=1):
        for path, line in ((paths[0], text), (paths[1], translation)):
            if not line.strip():
                raise CorpusError(f"{path}:{number}: an empty line. Remove the pair, or mend it.")
        languages = {"from": inner_suffix(paths[0]), "to": inner_suffix(paths[1])}
        found.append(
            Raw(
                source=f"{paths[0]}:{number}",
                given=text.strip(),
                references=(translation.strip(),),
                fields=languages,
            )
        )
    return found


def read_dialogues(paths: Sequence[Path], how: Reading) -> list[Raw] | None:
    """Daily dialogues, one a line, turns ended by `__eou__`: the last turn is the reply; None for others.

    Raises:
        CorpusError: a dialogue has one turn only.
    """
    if any(inner_suffix(path) != "txt" for path in paths):
        return None
    found = []
    for path in paths:
        for number, line in enumerate(lines(path), start=1):
            turns = [turn.strip() for turn in line.split("\t")[0].split(END_OF_TURN) if turn.strip()]
            if not turns:
                continue
            if len(turns) < 2:
                raise CorpusError(f"{path}:{number}: a dialogue of one turn has no reply. Remove it.")
            spoken = tuple(
                Message(role="assistant" if (len(turns) - i) % 2 else "user", content=turn)
                for i, turn in enumerate(turns)
            )
            put = asked(Example(source="", messages=spoken), how.tokenizer)
            found.append(
                Raw(
                    source=f"{path}:{number}",
                    given="\n".join(turns[:-1]),
                    prompt=put.question,
                    continuation=put.pieces[-1].text,
                    references=(turns[-1],),
                    fields={"bare": put.bare},
                )
            )
    return found


def read_hellaswag(paths: Sequence[Path], how: Reading) -> list[Raw] | None:
    """HellaSwag as six lines an item: context, the number of the right ending, four endings."""
    if any(inner_suffix(path) != "txt" for path in paths):
        return None
    found = []
    for path in paths:
        held = lines(path)
        if len(held) % HELLASWAG_LINES:
            raise CorpusError(
                f"{path}: {len(held)} lines are no whole number of items of "
                f"{HELLASWAG_LINES} lines (context, number of the right ending, four endings)."
            )
        for at in range(0, len(held), HELLASWAG_LINES):
            context, gold, *endings = held[at : at + HELLASWAG_LINES]
            place = f"{path}:{at + 1}"
            if not context.strip() or not all(e.strip() for e in endings) or gold.strip() not in "0123":
                raise CorpusError(f"{place}: no item of six lines begins here.")
            found.append(
                Raw(
                    source=place,
                    given=_tidied(context),
                    choices=tuple(_tidied(e) for e in endings),
                    gold=int(gold),
                )
            )
    return found


def _tidied(text: str) -> str:
    """As the harness does: marks of WikiHow are taken out."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def read_winobias(paths: Sequence[Path], how: Reading) -> list[Raw] | None:
    """WinoBias: a pro-stereotyped and an anti-stereotyped file, line by line the same but for the pronoun."""
    if any(not path.name.split(".")[0].startswith(("pro_", "anti_")) for path in paths):
        return None
    found = []
    for path in paths:
        if not path.name.startswith("pro_"):
            continue
        other = path.with_name(path.name.replace("pro_", "anti_", 1))
        if other not in paths and not other.exists():
            raise CorpusError(f"{path} has no {other.name} beside it. Give both.")
        both = [[_sentence(line) for line in lines(file) if line.strip()] for file in (path, other)]
        if len(both[0]) != len(both[1]):
            raise CorpusError(f"{path} has {len(both[0])} lines, {other.name} {len(both[1])}: give a pair.")
        for number, (pro, anti) in enumerate(zip(*both, strict=True), start=1):
            if pro == anti:
                continue  # a few lines of the set are the same in both
            kind = "type 1 (world)" if "type1" in path.name else "type 2 (syntax)"
            found.append(Raw(source=f"{path}:{number}", choices=(pro, anti), gold=0, group=kind))
    return found


def _sentence(line: str) -> str:
    match = _WINOBIAS.match(line)
    return (match[1] if match else line).replace("[", "").replace("]", "").strip()
