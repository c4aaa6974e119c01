"""Faults at every side effect: named failpoints, schedules of faults, and bugs that they have to find."""
