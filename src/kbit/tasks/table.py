"""The table of tasks."""

from kbit.errors import UsageError, did_you_mean
from kbit.tasks import baselines as b
from kbit.tasks.metrics import answers, bleu, classes, cloze, pairs, programs, replies, rouge, topics
from kbit.tasks.readers import lines, records
from kbit.tasks.readers.blimp import read_blimp
from kbit.tasks.readers.squad import read_squad
from kbit.tasks.task import HarnessForm, Task

_CLASSES = (
    classes.ACCURACY,
    classes.BALANCED_ACCURACY,
    classes.MACRO_F1,
    classes.CALIBRATION,
)
_SENTIMENT = {
    "en": {"0": " negative", "1": " positive"},
    "zh": {"0": "差评", "1": "好评"},
}
_CHOICE = (classes.ACCURACY, classes.ACCURACY_NORM)
# The place of the right choice says nothing, unless the choices are the same for all items.
_CHOICE_BASELINES = (b.CHANCE, b.SHORTEST)
_FIXED_BASELINES = (b.CHANCE, b.MAJORITY)


def _choose(name: str, what: str, form: HarnessForm, files: str, *layouts: records.Layout) -> Task:
    """A task of multiple choice that the harness asks."""
    return Task(
        name=name,
        what=what,
        form="harness",
        metrics=_CHOICE if "acc_norm" in form.metrics else (classes.ACCURACY,),
        baselines=_FIXED_BASELINES if form.choices else _CHOICE_BASELINES,
        layouts=layouts or (records.MULTIPLE_CHOICE,),
        readers=(lines.read_hellaswag,) if name == "hellaswag" else (),
        harness=form,
        files=files,
    )


_ROWS = (
    Task(
        name="translation",
        what="translate a sentence",
        form="write",
        metrics=(bleu.BLEU, bleu.CHRF),
        baselines=(b.COPIED_SOURCE,),
        readers=(lines.read_parallel,),
        templates={"en": "{from}: {text}\n{to}:"},
        max_new_tokens=96,
        files="a text and its translation, line by line (WMT, Multi30k), their suffixes the languages",
    ),
    Task(
        name="summarisation",
        what="sum up a text",
        form="write",
        metrics=(rouge.ROUGE_1, rouge.ROUGE_2, rouge.ROUGE_L),
        baselines=(b.FIRST_SENTENCE, b.FIRST_SENTENCES),
        layouts=(records.SCITLDR, records.DIALOGSUM),
        templates={"en": "{text}\nTL;DR:", "zh": "{text}\n总结："},
        max_new_tokens=80,
        files="SciTLDR or DialogSum as JSON lines",
    ),
    Task(
        name="question-answering",
        what="answer a question about a passage",
        form="write",
        metrics=(answers.ANSWER_F1, answers.EXACT),
        baselines=(b.NEAREST_SENTENCE, b.FIRST_SENTENCE),
        readers=(read_squad,),
        templates={"en": "{text}\nQ: {question}\nA:", "zh": "{text}\n问：{question}\n答："},
        max_new_tokens=32,
        files="SQuAD's JSON (XQuAD)",
    ),
    Task(
        name="dialogue",
        what="give the next reply",
        form="reply",
        metrics=(replies.REPLY_BITS, bleu.BLEU, replies.DISTINCT_1, replies.DISTINCT_2),
        baselines=(b.LAST_TURN, b.COMMONEST_REPLY, b.UNIGRAM_REPLY),
        readers=(lines.read_dialogues,),
        max_new_tokens=48,
        files="dialogues, one a line, turns ended by __eou__ (DailyDialog, XDailyDialog)",
    ),
    Task(
        name="sentiment",
        what="tell praise from blame",
        form="label",
        metrics=_CLASSES,
        baselines=(b.MAJORITY,),
        layouts=(records.REVIEWS, records.SST2),
        templates={"en": "{text}\nSentiment:", "zh": "{text}\n评价："},
        words=_SENTIMENT,
        files="ChnSentiCorp or waimai (label, review) as CSV, SST-2 as JSON lines",
    ),
    Task(
        name="topic",
        what="tell the topic of a piece of news",
        form="label",
        metrics=_CLASSES,
        baselines=(b.MAJORITY,),
        layouts=(records.AG_NEWS,),
        templates={"en": "{text}\nTopic:", "zh": "{text}\n主题："},
        words={"en": {"1": " World", "2": " Sports", "3": " Business", "4": " Technology"}},
        files="AG News as CSV",
    ),
    Task(
        name="classification",
        what="put a text into one of any classes",
        form="label",
        metrics=_CLASSES,
        baselines=(b.MAJORITY,),
        templates={"en": "{text}\nLabel:"},
        files="text and label",
    ),
    Task(
        name="hatecheck",
        what="tell hateful from harmless, by the group spoken of",
        form="label",
        metrics=_CLASSES,
        baselines=(b.MAJORITY,),
        layouts=(records.HATECHECK,),
        templates={"en": "{text}\nHateful:"},
        words={"en": {"hateful": " yes", "non-hateful": " no"}},
        files="HateCheck as CSV",
    ),
    Task(
        name="topic-mining",
        what="put texts together without labels, and name each group by its words",
        form="cluster",
        metrics=(topics.COHERENCE,),
        baselines=(),
        layouts=(records.AG_NEWS, records.REVIEWS, records.SST2),
        files="texts with or without labels",
    ),
    Task(
        name="code",
        what="write a function that passes tests; runs what the model writes",
        form="program",
        metrics=(programs.pass_metric(1), programs.pass_metric(5), programs.pass_metric(10)),
        baselines=(),
        layouts=(records.PROBLEMS,),
        max_new_tokens=192,
        files="HumanEval's form: prompt, test, entry_point; a small set of our own where no file is given",
    ),
    Task(
        name="lambada",
        what="the last word of a passage, zero-shot",
        form="harness",
        metrics=(cloze.WORD_ACCURACY, cloze.PERPLEXITY),
        baselines=(b.COMMONEST_NAME,),
        layouts=(records.LAMBADA,),
        harness=HarnessForm(
            task="lambada_openai", output_type="loglikelihood", text="{text}", metrics=("acc", "perplexity")
        ),
        files="context and continuation as JSON lines",
    ),
    _choose(
        "hellaswag",
        "the ending of a scene, zero-shot",
        HarnessForm(task="hellaswag", output_type="multiple_choice", text="{text}"),
        "six lines an item, or query, choices, gold as JSON lines",
    ),
    _choose(
        "piqa",
        "how to do a thing, zero-shot",
        HarnessForm(task="piqa", output_type="multiple_choice", text="{text}\nAnswer:"),
        "query, choices, gold as JSON lines",
    ),
    _choose(
        "winogrande",
        "whom a pronoun means, zero-shot",
        HarnessForm(
            task="winogrande", output_type="multiple_choice", text="", contexts=True, metrics=("acc",)
        ),
        "context_options, continuation, gold as JSON lines",
        records.WINOGRANDE,
    ),
    _choose(
        "arc-easy",
        "easy school questions, zero-shot",
        HarnessForm(task="arc_easy", output_type="multiple_choice", text="{text}\nAnswer:"),
        "query, choices, gold as JSON lines",
    ),
    _choose(
        "arc-challenge",
        "hard school questions, zero-shot",
        HarnessForm(task="arc_challenge", output_type="multiple_choice", text="{text}\nAnswer:"),
        "query, choices, gold as JSON lines",
    ),
    _choose(
        "boolq",
        "yes or no about a passage, zero-shot",
        HarnessForm(
            task="boolq",
            output_type="multiple_choice",
            text="{text}\nAnswer:",
            choices=("no", "yes"),
            metrics=("acc",),
        ),
        "query, choices, gold as JSON lines",
    ),
    _choose(
        "copa",
        "cause and effect, zero-shot",
        HarnessForm(task="copa", output_type="multiple_choice", text="{text}", metrics=("acc",)),
        "query, choices, gold as JSON lines",
    ),
    _choose(
        "openbookqa",
        "science questions, zero-shot",
        HarnessForm(task="openbookqa", output_type="multiple_choice", text="{text}"),
        "query, choices, gold as JSON lines",
    ),
    _choose(
        "sciq",
        "science questions with a passage, zero-shot",
        HarnessForm(task="sciq", output_type="multiple_choice", text="{text}\nQuestion: {question}\nAnswer:"),
        "SciQ as JSON lines",
        records.SCIQ,
    ),
    Task(
        name="blimp",
        what="which of two sentences is grammatical, by phenomenon",
        form="pair",
        metrics=(classes.ACCURACY,),
        baselines=(b.CHANCE, b.SHORTEST),
        readers=(read_blimp,),
        files="BLiMP's zip file or JSON lines",
    ),
    Task(
        name="crows-pairs",
        what="how often the stereotyped of two sentences is the likelier, by group of people",
        form="pair",
        metrics=(pairs.STEREOTYPED, pairs.BITS_APART),
        baselines=(b.CHANCE, b.SHORTEST),
        layouts=(records.CROWS_PAIRS,),
        files="CrowS-Pairs as CSV",
    ),
    Task(
        name="winobias",
        what="how often the stereotyped pronoun is the likelier, by kind of sentence",
        form="pair",
        metrics=(pairs.STEREOTYPED, pairs.BITS_APART),
        baselines=(b.CHANCE,),
        readers=(lines.read_winobias,),
        files="pro_stereotyped_… and anti_stereotyped_… beside each other",
    ),
)
TASKS = {task.name: task for task in _ROWS}


def find_task(name: str) -> Task:
    """A task by name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in TASKS:
        raise UsageError(f"there is no task {name!r}: {did_you_mean(name, TASKS)}")
    return TASKS[name]


def listing() -> list[dict[str, object]]:
    """One row a task, for `kbit ls tasks`."""
    return [
        {
            "name": task.name,
            "what": task.what,
            "form": task.form,
            "metrics": [metric.name for metric in task.metrics],
            "baselines": [baseline.name for baseline in task.baselines],
            "harness": task.harness.task if task.harness else None,
            "files": task.files,
        }
        for task in TASKS.values()
    ]
