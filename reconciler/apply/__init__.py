"""Carries out a plan: order, parallelism, health gates, rollback. It decides nothing else."""

from reconciler.apply.actions import Actions
from reconciler.apply.ports import Engine, Health, Registrations, Store
from reconciler.apply.rollback import Rollback
from reconciler.apply.walk import Slots, walk

__all__ = ["Actions", "Engine", "Health", "Registrations", "Rollback", "Slots", "Store", "walk"]
