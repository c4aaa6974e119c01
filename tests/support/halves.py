"""The default run as two pytest processes side by side, because the tests of whole control planes and of daemons mostly wait.

    python -m tests.support.halves [PYTEST_ARGS…]     {half} in an argument becomes the name of the half

The output of the half that waits is printed when both have ended. The exit code is that of a half that failed.
"""

import signal
import subprocess
import sys
import tempfile

import pytest

WAITING = (
    "tests/scenarios",
    "tests/daemon",
    "tests/fleet",
    "tests/test_demo.py",
    "tests/day",
    "tests/images",
    "tests/bench",
    "tests/test_engine_support.py",
)
COMPUTING = ("tests", *(f"--ignore={path}" for path in WAITING))


def main(arguments: list[str]) -> int:
    """Run both halves; returns the exit code."""

    def command(half: str, selection: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "pytest", *selection, *(word.replace("{half}", half) for word in arguments)]

    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as told:
        waiting = subprocess.Popen(command("waiting", WAITING), stdout=told, stderr=subprocess.STDOUT)
        try:
            computing = subprocess.run(command("computing", COMPUTING), check=False)
            print("\nthe tests of whole control planes are still running beside; what they print follows", flush=True)
            waiting.wait()
        finally:
            if waiting.poll() is None:
                waiting.terminate()
                waiting.wait()
            told.seek(0)
            for line in told:
                sys.stdout.write(line)
    ended = [computing.returncode, waiting.returncode]
    for half, code in zip(("computing", "waiting"), ended, strict=True):
        if code < 0:
            print(f"the half {half} was ended by {signal.Signals(-code).name}", flush=True)
    nothing = pytest.ExitCode.NO_TESTS_COLLECTED  # a selection may lie in one half
    return next((abs(code) for code in ended if code not in (0, nothing)), min(ended))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
