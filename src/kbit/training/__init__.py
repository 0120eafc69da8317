"""Pre-training: a family of models from one recipe."""

from kbit.training.plan import FamilyPlan, RungPlan, plan_family
from kbit.training.pretrain import Family, family_json, pretrain, sharing
from kbit.training.recipe import Recipe, Rung, read_recipe
from kbit.training.run import Step

__all__ = [
    "Family",
    "FamilyPlan",
    "Recipe",
    "Rung",
    "RungPlan",
    "Step",
    "family_json",
    "plan_family",
    "pretrain",
    "read_recipe",
    "sharing",
]
