"""Carries out a plan: order, parallelism, health gates, rollback. It decides nothing else."""

from reconciler.apply.actions import Actions
from reconciler.apply.one_shot import OneShot, tidy_one_shots
from reconciler.apply.ports import Basis, Engine, Gate, Health, Host, Registrations, Store, Units
from reconciler.apply.rollback import Rollback
from reconciler.apply.units import Systemd
from reconciler.apply.validate import Validator
from reconciler.apply.walk import Slots, walk
from reconciler.apply.writing import FILE_VERBS

__all__ = [
    "FILE_VERBS",
    "Actions",
    "Basis",
    "Engine",
    "Gate",
    "Health",
    "Host",
    "OneShot",
    "Registrations",
    "Rollback",
    "Slots",
    "Store",
    "Systemd",
    "Units",
    "Validator",
    "tidy_one_shots",
    "walk",
]
