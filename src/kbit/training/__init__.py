"""Pre-training: a family of models from one recipe."""

from kbit.training.memorization import Memorized, Probe, ProbeRecipe, capacity, memorize, read_probe
from kbit.training.plan import FamilyPlan, RungPlan, plan_family
from kbit.training.pretrain import Family, family_json, pretrain, sharing
from kbit.training.processes import speaks
from kbit.training.reading import read_recipe
from kbit.training.recipe import Recipe, Rung
from kbit.training.run import Step
from kbit.training.sweep import Sweep, Trial, sweep_learning_rate

__all__ = [
    "Family",
    "FamilyPlan",
    "Memorized",
    "Probe",
    "ProbeRecipe",
    "Recipe",
    "Rung",
    "RungPlan",
    "Step",
    "Sweep",
    "Trial",
    "capacity",
    "family_json",
    "memorize",
    "plan_family",
    "pretrain",
    "read_probe",
    "read_recipe",
    "sharing",
    "speaks",
    "sweep_learning_rate",
]
