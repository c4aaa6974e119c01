"""The problems of a site as text, JSON, JUnit XML and GitLab's code quality report."""

import hashlib
from collections.abc import Sequence
from typing import Any

from reconciler import phrases
from reconciler.errors import Problem
from reconciler.text import json_text, printable

FORMATS = ("text", "json", "junit", "codequality")


def text(problems: Sequence[Problem], hosts: int) -> str:
    """One line each, as compilers write them, and a last line that counts."""
    lines = []
    for problem in problems:
        mark = "warning: " if problem.severity == "warning" else ""
        lines.append(": ".join(part for part in (problem.place, f"{mark}{problem.text}") if part))
    wrong, warnings = count(problems)
    if wrong:
        verdict = f"{phrases.count(wrong, 'problem')} in {phrases.count(len({p.file for p in problems}), 'file')}"
    else:
        verdict = f"the site is valid: {phrases.count(hosts, 'host')}"
    lines.append(verdict + (f", {phrases.count(warnings, 'warning')}" if warnings else ""))
    return "\n".join(lines)


def as_json(problems: Sequence[Problem], hosts: int, rendered: Sequence[str]) -> dict[str, Any]:
    """{"valid", "hosts", "rendered", "problems": [{file, line, column, severity, message, hint}]}"""
    return {
        "valid": count(problems)[0] == 0,
        "hosts": hosts,
        "rendered": list(rendered),
        "problems": [
            {
                "file": p.file,
                "line": p.line,
                "column": p.column,
                "severity": p.severity,
                "message": p.message,
                "hint": p.hint,
            }
            for p in problems
        ],
    }


def junit(problems: Sequence[Problem]) -> str:
    """A test suite with one case per file that has problems; one that passes when there are none."""
    from xml.etree import ElementTree

    files: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.severity == "error":
            files.setdefault(problem.file, []).append(problem)
    suite = ElementTree.Element(
        "testsuite", name="reconciler validate", tests=str(len(files) or 1), failures=str(len(files))
    )
    if not files:
        ElementTree.SubElement(suite, "testcase", classname="site", name="valid")
    for name, found in files.items():
        case = ElementTree.SubElement(suite, "testcase", classname="site", name=name, file=name)
        failure = ElementTree.SubElement(
            case, "failure", message=f"{phrases.count(len(found), 'problem')}: {found[0].message}"
        )
        failure.text = "\n".join(map(str, found))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def code_quality(problems: Sequence[Problem], prefix: str) -> str:
    """GitLab's report; `prefix` is the site's folder in the repository."""
    rows = []
    for p in problems:
        path = printable(f"{prefix}/{p.file}" if prefix else p.file)
        # Lines move while a problem stays: they are not part of its identity.
        identity = hashlib.sha256(f"{path}\0{p.message}".encode()).hexdigest()
        rows.append(
            {
                "description": p.text,
                "check_name": "reconciler-validate",
                "fingerprint": identity,
                "severity": "minor" if p.severity == "warning" else "blocker",
                "location": {"path": path, "lines": {"begin": max(p.line, 1)}},
            }
        )
    return json_text(rows, indent=2)


def count(problems: Sequence[Problem]) -> tuple[int, int]:
    """(errors, warnings)."""
    wrong = sum(1 for p in problems if p.severity == "error")
    return wrong, len(problems) - wrong
