"""What the commands of `kbit task` share: which items are read, and how, from options."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.rows import pairs
from kbit.errors import UsageError

if TYPE_CHECKING:
    from kbit.tasks.raw import Reading
    from kbit.tasks.task import Task

ROLES = ("prompt", "completion", "text", "label", "messages")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """The files, and what becomes of bad records."""

    data: Annotated[
        list[Path] | None,
        Parameter(
            consume_multiple=True,
            help="Files in a layout of the task, or JSON lines as `kbit finetune` takes them.",
        ),
    ] = None
    drop_bad: Annotated[
        bool, Parameter(negative=(), help="Leave out records of known data sets that are wrong.")
    ] = False
    seed: Annotated[int, Parameter(help="Of draws and resampling.")] = 0

    def paths(self, task: "Task") -> list[Path]:
        """The files; problems of our own where a task runs programs and none are given.

        Raises:
            UsageError: the task needs some.
        """
        if self.data:
            return self.data
        if task.form == "program":
            from kbit.tasks.kept import PROBLEMS

            return [PROBLEMS]
        raise UsageError(
            f"{task.name} needs --data: {task.files}; or JSON lines as `kbit finetune` takes them."
        )

    def reading(self, limit: int | None) -> "Reading":
        """How they are read, at most `limit` items.

        Raises:
            UsageError: the limit is none.
        """
        from kbit.tasks.raw import Reading

        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: give the most items to ask, at least 1.")
        return Reading(limit=limit, seed=self.seed, drop_bad=self.drop_bad)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ItemChoice(DataChoice):
    """The files, and how their records become items."""

    template: Annotated[
        str | None, Parameter(help="Of prompts, with {text}, {question}, {from}, {to}; \\n is a new line.")
    ] = None
    word: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="LABEL=WORD: what the model is to say for a label."),
    ] = None
    field: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            help="ROLE=FIELD: which field is the prompt, completion, text, label or messages.",
        ),
    ] = None
    language: Annotated[
        str | None, Parameter(help="Of the answers, two letters; told from them by default.")
    ] = None

    def reading(self, limit: int | None) -> "Reading":
        """How they are read, at most `limit` items.

        Raises:
            UsageError: the limit is none, or a role or a LABEL=WORD is wrong.
        """
        from dataclasses import replace

        from kbit.corpus import ExampleFields
        from kbit.errors import did_you_mean

        chosen: Any = pairs(self.field, option="--field")
        for role in chosen:
            if role not in ROLES:
                raise UsageError(f"--field {role}=…: {did_you_mean(role, ROLES)}")
        return replace(
            DataChoice.reading(self, limit),
            template=None if self.template is None else unescaped(self.template),
            language=self.language,
            words={label: unescaped(said) for label, said in pairs(self.word, option="--word").items()},
            names=replace(ExampleFields(), **chosen),
        )


DATA, ITEMS = DataChoice(), ItemChoice()
"""What is chosen where no option is given."""


def unescaped(text: str) -> str:
    r"""A text of the command line, `\n` and `\t` as a new line and a tab."""
    return text.replace("\\n", "\n").replace("\\t", "\t")
