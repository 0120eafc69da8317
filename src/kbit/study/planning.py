"""What a study would measure, from configs, headers and texts: no weight is loaded."""

from kbit.errors import StudyError
from kbit.study.baselines import baseline_tasks
from kbit.study.generated import generation_plan
from kbit.study.models import model_facts
from kbit.study.planned import Plan
from kbit.study.study import Study
from kbit.study.subjects import model_tasks
from kbit.study.task import SubjectPlan
from kbit.study.texts import baseline_text, study_texts


def plan(study: Study) -> Plan:
    """Plan a study: look up its models and texts, and give each measurement its identity.

    Raises:
        StudyError: a model, text, format, method or baseline does not exist, or two models are one.
        ModelError: a model's folder is broken.
    """
    texts = study_texts(study)
    fitted_on = baseline_text(study)
    generation = generation_plan(study, fitted_on)
    tasks = baseline_tasks(study, texts, fitted_on)
    subjects: list[SubjectPlan] = []
    names: dict[str, str] = {}
    for facts in model_facts(study):
        if facts.content in names:
            raise StudyError(
                f"{study.file}: {names[facts.content]} and {facts.name} are the same model. Name one of them."
            )
        names[facts.content] = facts.name
        planned = model_tasks(study, facts, texts, generation)
        tasks += planned.tasks
        subjects += planned.subjects
    return Plan(study=study, tasks=tuple(tasks), subjects=tuple(subjects), texts=tuple(texts))
