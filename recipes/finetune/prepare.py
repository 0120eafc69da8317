"""Write the recipes' examples as JSON lines: training, validation and test of each task, and text for bases.

    python recipes/finetune/prepare.py ../shared/data/tasks runs/finetune/data

Splits go by a hash of the text (of the article, for questions), so they do not depend on the order of files,
and no test text stands in a base's training text. Any other files of the same form do as well.
"""

import csv
import gzip
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

HOTEL_CHARACTERS, NEWS_BYTES, SCIENCE_BYTES, PASSAGE_BYTES, DIALOGUE_BYTES = 160, 400, 600, 500, 700
RARE = 0.08  # of the negative hotel reviews that the imbalanced training set keeps
TOPICS = {"1": "World", "2": "Sports", "3": "Business", "4": "Technology"}
WATCHED = 300  # examples that decide when to stop: enough for that
Row = dict[str, object]


def place(key: str) -> float:
    """A number in [0, 1) that follows from the text alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def split(rows: Iterable[tuple[str, Row]], *, test: float, valid: float) -> dict[str, list[Row]]:
    """Rows by the hash of their keys; in the order of the hash."""
    parts: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for key, row in sorted(rows, key=lambda pair: (place(pair[0]), pair[0])):
        at = place(key)
        parts["test" if at < test else "valid" if at < test + valid else "train"].append(row)
    return parts


def hotel(source: Path) -> Iterator[tuple[str, Row]]:
    """Chinese hotel reviews; one that occurs twice is taken once."""
    seen = set()
    with (source / "sentiment" / "ChnSentiCorp_htl_all.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            text = " ".join(row["review"].split())[:HOTEL_CHARACTERS]
            if text and text not in seen:
                seen.add(text)
                yield text, {"text": text, "label": "好评" if row["label"] == "1" else "差评"}


def news(source: Path) -> Iterator[tuple[str, Row]]:
    """AG News: title and first sentences, four topics."""
    with (source / "topic" / "test.csv").open(newline="") as file:
        for label, title, body in csv.reader(file):
            text = f"{title}. {body}".replace("\\", " ").replace("#39;", "'").replace("quot;", '"')
            text = shortened(" ".join(text.split()), NEWS_BYTES)
            yield text, {"text": text, "label": TOPICS[label]}


def multi30k(source: Path) -> dict[str, list[Row]]:
    """Captions of pictures, English to German, split as they came."""
    folder = source / "translation" / "multi30k"
    parts = {}
    for part, name in (("train", "train"), ("valid", "val"), ("test", "test_2016_flickr")):
        pairs = []
        with (
            gzip.open(folder / f"{name}.en.gz", "rt") as english,
            gzip.open(folder / f"{name}.de.gz", "rt") as german,
        ):
            for en, de in zip(english, german, strict=True):
                pairs.append({"prompt": f"{en.strip()}\n", "completion": de.strip(), "given": en.strip()})
        parts[part] = pairs
    return parts


def scitldr(source: Path) -> dict[str, list[Row]]:
    """Abstracts of papers and a one-sentence summary; the first where there are several."""
    parts = {}
    for part, name in (("train", "train"), ("valid", "dev"), ("test", "test")):
        rows = []
        for line in (source / "summarisation" / f"{name}.jsonl").read_text().splitlines():
            record = json.loads(line)
            abstract = shortened(" ".join(" ".join(record["source"]).split()), SCIENCE_BYTES)
            targets = [" ".join(t.split()) for t in record["target"] if t.strip()]
            completion = targets if part == "test" else targets[0]
            rows.append({"prompt": f"{abstract}\nTL;DR: ", "completion": completion, "given": abstract})
        parts[part] = rows
    return parts


def xquad(source: Path, language: str) -> Iterator[tuple[str, Row]]:
    """Questions on a passage, by article. Of long passages the sentences around the answer."""
    data = json.loads((source / "question_answering" / f"xquad.{language}.json").read_text())["data"]
    for number, article in enumerate(data):  # the articles stand in the same order in every language
        for paragraph in article["paragraphs"]:
            for item in paragraph["qas"]:
                answer = item["answers"][0]
                passage = around(paragraph["context"], answer["answer_start"], PASSAGE_BYTES)
                prompt = f"{passage}\nQ: {item['question']}\nA: "
                row = {"prompt": prompt, "completion": answer["text"], "given": passage}
                yield f"article {number}", row | {"question": item["question"]}


def dialogue(source: Path, language: str) -> dict[str, list[Row]]:
    """Daily dialogues as messages: who answers speaks last. The development set is trained on."""
    parts: dict[str, list[Row]] = {"test": []}
    for name in ("dev", "test"):
        found = []
        for line in (source / "dialogue" / f"{language}_{name}_human.txt").read_text().splitlines():
            # Behind a tab stand the acts and emotions of the turns, as numbers.
            turns = [turn.strip() for turn in line.split("\t")[0].split("__eou__") if turn.strip()]
            turns = turns[: len(turns) // 2 * 2]
            while len(turns) > 2 and sum(len(turn.encode()) + 12 for turn in turns) > DIALOGUE_BYTES:
                turns = turns[:-2]
            if len(turns) < 2 or sum(len(turn.encode()) + 12 for turn in turns) > DIALOGUE_BYTES:
                continue
            messages = [
                {"role": "assistant" if i % 2 else "user", "content": turn} for i, turn in enumerate(turns)
            ]
            found.append((line, {"messages": messages}))
        if name == "dev":
            parts |= {k: v for k, v in split(found, test=0, valid=0.1).items() if k != "test"}
        else:
            parts["test"] = split(found, test=0, valid=0)["train"]
    return parts


def shortened(text: str, most_bytes: int) -> str:
    """The beginning of a text, cut between words."""
    if len(text.encode()) <= most_bytes:
        return text
    return text.encode()[:most_bytes].decode(errors="ignore").rsplit(" ", 1)[0]


def around(passage: str, start: int, most_bytes: int) -> str:
    """A stretch of a passage that holds the place `start`, at a place of its own that the text decides."""
    if len(passage.encode()) <= most_bytes:
        return passage
    room = most_bytes // max(1, len(passage.encode()) // len(passage))
    begin = max(0, min(len(passage) - room, start - int(room * (0.2 + 0.5 * place(passage + str(start))))))
    return passage[begin : begin + room].encode()[:most_bytes].decode(errors="ignore")


def imbalanced(rows: list[Row]) -> list[Row]:
    """The same reviews with few of the negative ones."""
    return [r for r in rows if r["label"] == "好评" or place("rare" + str(r["text"])) < RARE]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def said(row: Row) -> str:
    """All of an example's text, for a base's training."""
    if "messages" in row:
        return "\n".join(
            f"{'Assistant' if m['role'] == 'assistant' else 'User'}: {m['content']}" for m in row["messages"]
        )
    return str(row.get("text") or f"{row['prompt']}{row['completion']}")


def joined(texts: list[str], count: int = 20) -> list[str]:
    """So many short texts to a document, a line each."""
    return ["\n".join(texts[at : at + count]) for at in range(0, len(texts), count)]


def main(source: Path, out: Path) -> None:
    """Write all examples and the text for bases."""
    tasks = {
        "hotel": split(hotel(source), test=0.16, valid=0.06),
        "news": split(news(source), test=0.25, valid=0.06),
        "en-de": multi30k(source),
        "tldr": scitldr(source),
        "questions-en": split(xquad(source, "en"), test=0.3, valid=0.1),
        "questions-zh": split(xquad(source, "zh"), test=0.3, valid=0.1),
        "dialogue-en": dialogue(source, "en"),
        "dialogue-zh": dialogue(source, "zh"),
    }
    tasks["hotel"]["train-rare"] = imbalanced(tasks["hotel"]["train"])
    tasks["en-de"]["train-1000"] = tasks["en-de"]["train"][:1000]
    for parts in tasks.values():
        parts["valid"] = parts["valid"][:WATCHED]
    for name, parts in tasks.items():
        for part, rows in parts.items():
            write(out / name / f"{part}.jsonl", rows)
        print(name, {part: len(rows) for part, rows in parts.items()})
    european = [
        said(row) for name in ("news", "tldr", "dialogue-en", "questions-en") for row in tasks[name]["train"]
    ]
    pairs = tasks["en-de"]["train"]
    european += joined([str(row["prompt"]).strip() for row in pairs])
    european += joined([str(row["completion"]) for row in pairs])
    chinese = joined([said(row) for row in tasks["hotel"]["train"]], 4)
    chinese += [said(row) for name in ("dialogue-zh", "questions-zh") for row in tasks[name]["train"]]
    with (source / "sentiment" / "waimai_10k.csv").open(newline="") as file:
        chinese += joined([row["review"] for row in csv.DictReader(file)])
    write(out / "european.jsonl", ({"text": text} for text in european))
    write(out / "chinese.jsonl", ({"text": text} for text in chinese))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
