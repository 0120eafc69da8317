"""The user's own files: JSON lines and tables of the forms `kbit finetune` takes."""

from collections.abc import Sequence
from pathlib import Path

from kbit.corpus import Example, read_examples
from kbit.corpus.asked import asked
from kbit.tasks.raw import Raw, Reading

TOLD = ("given", "question", "group")


def read_general(paths: Sequence[Path], how: Reading) -> list[Raw]:
    """Records with prompt and completion, text and label, or messages.

    A record's fields `given`, `question` and `group`, where it has them, are what baselines read and results
    are told by.

    Raises:
        CorpusError: an example is wrong; file and line are named.
    """
    return [_raw(example, how) for example in read_examples(paths, names=how.names)]


def _raw(example: Example, how: Reading) -> Raw:
    given, question, group = (str(example.fields.get(key) or "") for key in TOLD)
    extra = {k: v for k, v in example.fields.items() if k not in TOLD}
    if example.form == "label":
        return Raw(
            source=example.source,
            given=example.prompt,
            label=example.label,
            group=group,
            taught=True,
            fields=extra,
        )
    put = asked(example, how.tokenizer)
    if example.form == "chat":
        given = given or "\n".join(m.content for m in example.messages[:-1])
        references: tuple[str, ...] = (example.target,)
        extra["bare"] = put.bare
    else:
        given = given or example.prompt.strip()
        references = example.completions
    return Raw(
        source=example.source,
        prompt=put.question,
        continuation=put.pieces[-1].text,
        references=references,
        given=given,
        question=question,
        group=group,
        fields=extra,
    )
