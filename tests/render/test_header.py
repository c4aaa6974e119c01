"""`#jinja2:` on the first line sets Jinja's options for that file, in overrides and templates, as with Ansible."""

import ast

import jinja2
import pytest

from reconciler.errors import SiteInvalid
from tests.render.sites import file, rendered

BODY = """
groups: {app: [control]}
containers:
  app:
    group: app
    image: app:1
    command: run
    files:
      - {name: a.conf, template: a.conf, merge: ini, overrides: [a.conf], destination: /a}
      - {name: b.txt, merge: replace, overrides: [b.txt], destination: /b, optional: true}
      - {name: c.txt, merge: replace, verbatim: true, overrides: [c.txt], destination: /c, optional: true}
"""


def made(path: str, text: str, template: str = "[a]\nx = 1\n") -> str:
    return file(rendered(BODY, {f"config/{path}": text}, templates={"a.conf": template}), f"app/{path}").content


TEXTS = {
    "lstrip_blocks: True": "a\n    {% if true %}\nb\n    {% endif %}\nc\n",
    "trim_blocks: False": "a\n{% if true %}b{% endif %}\nc\n",
    "trim_blocks:False,lstrip_blocks : True": "a\n  {% if true %}\n  b{% endif %}\nc\n",
    "variable_start_string: '[%', variable_end_string: \"%]\"": "{{ a }} [% host %]\n[%- host -%]\n",
    "block_start_string: '<%', block_end_string: '%>'": "<% if true %>\n{% b %}\n<% endif %>c\n",
    "comment_start_string: '/*', comment_end_string: '*/'": "{# a #}\nb /* c */ d\n",
    "line_statement_prefix: '%%', line_comment_prefix: '##'": "%% for i in [1, 2]\nx{{ i }} ## no\n%% endfor\n",
    "newline_sequence: '\\r\\n'": "a\n{{ host }}\nb\n",
    "keep_trailing_newline: True": "a\n{{ host }}\n",
    "line_comment_prefix: None": "a\n{{ host }}\n",
}


@pytest.mark.parametrize("options", TEXTS)
def test_options_mean_what_they_mean_to_jinja(options: str) -> None:
    given = {
        name.strip(): ast.literal_eval(value.strip())
        for name, _, value in (pair.partition(":") for pair in options.split(","))
    }
    whole = {"trim_blocks": True, "keep_trailing_newline": True, **given}
    expected = jinja2.Environment(**whole).from_string(TEXTS[options]).render(host="ctl1")
    assert expected != TEXTS[options] or "None" in options or "keep" in options
    text = TEXTS[options].replace("host", "inventory_hostname")
    assert made("b.txt", f"#jinja2: {options}\n{text}") == expected
    assert made("b.txt", f"#jinja2:{options}\r\n{text}") == expected


def test_settings_stay_in_their_section() -> None:
    text = "[a]\ny = 1\n    {% if true %}\nz = 2\n    {% endif %}\n[b]\nx = 3\n"
    assert made("a.conf", "#jinja2: lstrip_blocks: True\n" + text) == "[a]\nx = 1\ny = 1\nz = 2\n\n[b]\nx = 3\n\n"
    assert made("a.conf", "", "#jinja2: lstrip_blocks: True\n" + text) == "[a]\ny = 1\nz = 2\n\n[b]\nx = 3\n\n"


def test_the_line_is_not_delivered_and_a_verbatim_file_keeps_it() -> None:
    assert made("b.txt", '#jinja2: trim_blocks: False\n{"users": []}\n') == '{"users": []}\n'
    assert made("b.txt", "#jinja2:\nplain\n") == "plain\n"
    assert made("b.txt", "\n#jinja2: trim_blocks: False\n") == "\n#jinja2: trim_blocks: False\n", "only the first line"
    assert made("c.txt", "#jinja2: trim_blocks: False\n{{ x }}\n") == "#jinja2: trim_blocks: False\n{{ x }}\n"


@pytest.mark.parametrize(
    "options, message",
    [
        ("lstrip_block: True", "there is no option 'lstrip_block' here (did you mean 'lstrip_blocks'?)"),
        ("autoescape: True", "there is no option 'autoescape'"),
        ("extensions: 'jinja2.ext.debug'", "there is no option 'extensions'"),
        ("finalize: 'x'", "there is no option 'finalize'"),
        ("trim_blocks = False", "is not `option: value`"),
        ("trim_blocks: no", "trim_blocks is True or False, not no"),
        ("trim_blocks: 'False'", "trim_blocks is True or False"),
        ("newline_sequence: 'x'", "newline_sequence is"),
        ("variable_start_string: ''", "of 1 to 20 characters"),
        ("variable_start_string: None", "is a text in quotes"),
        ("variable_start_string: [%", "is a text in quotes"),
        ("variable_start_string: '{%'", "must begin in different ways"),
        ("line_statement_prefix: '" + "%" * 21 + "'", "of 1 to 20 characters"),
        ("trim_blocks: False " * 80, "at most 1000 characters"),
    ],
)
def test_what_jinja_or_we_could_not_do_is_told_on_line_one(options: str, message: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        made("b.txt", f"#jinja2: {options}\nx\n")
    assert str(caught.value).startswith("config/b.txt:1:1: #jinja2: ")
    assert message in str(caught.value)


def test_errors_below_it_have_their_own_line() -> None:
    text = "#jinja2: variable_start_string: '[%', variable_end_string: '%]'\na\n[% nobody %]\n"
    with pytest.raises(SiteInvalid, match=r"config/b\.txt:3:1: the variable 'nobody' is not defined"):
        made("b.txt", text)


@pytest.mark.parametrize(
    "text",
    [
        "#jinja2: variable_start_string: '[%', variable_end_string: '%]'\n" + "[% 1 %]" * 6000,
        "#jinja2: line_statement_prefix: '%%'\n" + "%% set a = 1\n" * 6000,
    ],
)
def test_other_delimiters_have_the_same_bounds(text: str) -> None:
    with pytest.raises(SiteInvalid, match="a template has at most 5000 expressions and statements"):
        made("b.txt", text)


@pytest.mark.parametrize("expression", ["''.__class__", "[].append(1)", "1 | random", "x.y", "range(10**9) | list"])
def test_the_sandbox_is_the_same(expression: str) -> None:
    text = f"#jinja2: variable_start_string: '[%', variable_end_string: '%]'\n[% {expression} %]\n"
    with pytest.raises(SiteInvalid, match=r"config/b\.txt:2:1: "):
        made("b.txt", text)
