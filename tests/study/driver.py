"""A study whose measurements cost nothing: run as a script, it is what the tests kill.

python driver.py STORE WORK_S [ALGORITHM_VERSION]
"""

import hashlib
import sys
import time

from kbit.corpus import Document
from kbit.store import Costs, Labels, Part, Probe, Subject, open_store
from kbit.study.planned import Plan
from kbit.study.study import Study
from kbit.study.task import AGAINST_METRICS, TEXT_METRICS, CoderSource, Measured, Task
from kbit.study.texts import make_text

MODELS, FORMATS = 4, ("bf16", "int8:b64", "nf4", "nf3", "nf2")


def make_plan(*, version: int = 1, name: str = "driver") -> Plan:
    """Twenty subjects on two texts, each but the 16-bit ones also against 16 bits."""
    texts = [
        make_text(w, [Document(name=f"{w}{i}", text=f"{w} {i} " * (i + 1)) for i in range(5)]) for w in "ab"
    ]
    tasks = []
    for model in range(MODELS):
        content = hashlib.sha256(b"model %d" % model).hexdigest()

        def subject(format_: str, content: str = content, model: int = model) -> Subject:
            labels = Labels(name=f"rung-{model}", format=format_)
            return Subject(kind="model", content=content, formats={"linear": format_}, labels=labels)

        for format_ in FORMATS:
            for text in texts:
                algorithm = {"measurement": version}
                probe = Probe(kind="text", text=text.hash, algorithm=algorithm, text_name=text.name)
                against = Probe(
                    kind="against",
                    text=text.hash,
                    algorithm=algorithm,
                    text_name=text.name,
                    against=subject("bf16"),
                )
                for asked, metrics in ((probe, TEXT_METRICS), (against, AGAINST_METRICS)):
                    if asked is against and format_ == "bf16":
                        continue
                    tasks.append(
                        Task(
                            subject=subject(format_),
                            probe=asked,
                            metrics=metrics,
                            source=CoderSource(name="fake", text=None),
                            text=text,
                            group=content,
                        )
                    )
    study = Study(name=name, models=("m",), formats=FORMATS, texts=("a", "b"))
    return Plan(study=study, tasks=tuple(tasks), subjects=(), texts=tuple(texts))


def figure(task: Task, metric: str, document: Document) -> float:
    """A figure that depends on all that identifies it, so that a row in the wrong place is seen."""
    digest = hashlib.sha256(f"{task.identity} {metric} {document.text}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * document.bytes


def measure(task: Task) -> Measured:
    """What a task's measurement would be."""
    return Measured(
        parts={
            metric: tuple(
                Part(
                    document=d.name,
                    numerator=figure(task, metric, d),
                    denominator=d.bytes,
                    bytes=d.bytes,
                    characters=d.characters,
                    tokens=d.bytes,
                    bytes_lost=0,
                )
                for d in task.text.documents
            )
            for metric in task.metrics
        },
        costs=Costs(wall_s=0.0),
    )


def main() -> None:
    """Run the study into a store, each measurement taking a while."""
    from kbit.study.running import run

    url, work_s, *version = sys.argv[1:]

    def slowly(task: Task) -> Measured:
        time.sleep(float(work_s))
        return measure(task)

    with open_store(url, create=True) as store:
        print("running", flush=True)
        plan = make_plan(version=int(version[0]) if version else 1)
        run(plan, store, measure=slowly, on_outcome=lambda outcome: print("stored", flush=True))
        print("done", flush=True)


if __name__ == "__main__":
    main()
