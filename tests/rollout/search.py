"""Draw histories of a fleet that nobody chose, until one breaks a rule: `python -m tests.rollout.search [EXAMPLES]`."""

import sys

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.rollout.test_properties import Machine

if __name__ == "__main__":
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
