"""`init` as somebody uses it: what it asks, what it makes, and that nothing is left when it fails."""

import contextlib
import json
import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reconciler.secrets import sops
from tests.cli.conftest import commit, git
from tests.git.servers import _GIT_ENV
from tests.init.conftest import Cli, Made

PROGRAM = Path(sys.executable).with_name("reconciler")
FILES = {
    ".gitignore",
    ".gitlab-ci.yml",
    ".sops.yaml",
    "README.md",
    "ci/reconciler.gitlab-ci.yml",
    "config/keystone.conf",
    "globals.yml",
    "inventory.yml",
    "passwords.yml",
    "reconciler.yml",
}


def below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts}


def everywhere(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def test_a_site_that_validates_and_plans_at_once(cli: Cli, made: Made) -> None:
    site, done, key = made.site, made.result, made.key
    assert below(site) == FILES
    assert f"10 files in {site}\n" in done.stdout
    assert re.search(r"the site is valid: 1 host\nctl1: \d+ pull", done.stdout)

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    secret = re.findall(r"^AGE-SECRET-KEY-1\w+$", key.read_text(), re.MULTILINE)
    assert len(secret) == 1
    assert [name for name, content in everywhere(site).items() if b"SECRET-KEY" in content] == []
    assert secret[0] not in done.output
    opened = sops.decrypt((site / "passwords.yml").read_bytes(), name="passwords.yml", keys=sops.Keys(key))
    assert len(opened["keystone_admin_password"].reveal()) == 40
    assert f"{len(opened)} passwords in passwords.yml, encrypted\n" in done.stdout

    validated = cli("validate", site, "--all-hosts", "--json")
    assert (validated.exit_code, json.loads(validated.stdout)["problems"]) == (0, [])
    planned = json.loads(cli("plan", site, "--base", "nothing", "--json").stdout)
    created = {a["target"] for a in planned["plans"][0]["actions"] if a["verb"] == "create"}
    assert {"keystone", "mariadb", "haproxy", "keepalived"} <= created
    checked = cli("secrets", "check", site, "--age-key-file", key)
    assert checked.exit_code == 0, checked.output
    assert (
        "yours to choose, where they are used: " in checked.stdout and "haproxy_external_certificate" in checked.stdout
    )
    assert cli("explain", "kolla_internal_vip_address", site, "--host", "ctl1").stdout.splitlines()[0].endswith("250")
    # Comments name variables as they are switched on: they must be right.
    for name, mark in (("globals.yml", "# "), ("reconciler.yml", "# "), ("inventory.yml", "# ")):
        text = (site / name).read_text()
        assert "@" not in re.sub(r"\S+@\S+", "", text), name
        assert mark in text


def test_what_the_comments_offer_is_valid(cli: Cli, made: Made, tmp_path: Path) -> None:
    site = shutil.copytree(made.site, tmp_path / "site")
    for name in ("globals.yml", "reconciler.yml", "inventory.yml"):
        path = site / name
        path.write_text(re.sub(r"^( *)# (\w+:.*|  - .*|  \w+:.*)$", r"\1\2", path.read_text(), flags=re.MULTILINE))
    globals_ = yaml.safe_load((site / "globals.yml").read_text())
    assert globals_["enable_glance"] is False
    assert len(yaml.safe_load((site / "reconciler.yml").read_text())["freezes"]) == 1
    assert "memcached" in yaml.safe_load((site / "inventory.yml").read_text())["groups"]
    found = cli("validate", site, "--all-hosts")
    assert found.exit_code == 0, found.output


def test_answers_typed_in_and_asked_again(cli: Cli, tmp_path: Path) -> None:
    site = tmp_path / "cloud"
    answers = {
        "my cloud": "cannot be a name",
        "berlin": "",
        "ctl 1": "cannot be a name",
        "no": "",  # a name that YAML would take for a truth value
        "ctl1.example.org": "is not an IP address: addresses are declared",
        "10.1.0.11": "",
        "cmp1": "is not a host: write it NAME=ADDRESS",
        "no=10.1.0.12": "there is a host no already",
        "cmp1=10.1.0.11": "no has the address 10.1.0.11 already",
        "cmp1=fd00::1": "cannot be in one network",
        "cmp1=10.1.0.21": "",
        "cmp2=10.1.0.22,compute,control": "",
        "": "",
        "10.1.0.21": "10.1.0.21 is the address of cmp1",
        "10.1.0.5": "",
        "eth 0": "cannot be an interface",
        "bond0.100": "",
    }
    done = cli("init", site, answers="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    place = 0
    for message in filter(None, answers.values()):
        place = done.output.index(message, place)
    inventory = yaml.safe_load((site / "inventory.yml").read_text())["hosts"]
    assert {name: (host["addresses"]["network"], host["groups"]) for name, host in inventory.items()} == {
        "no": ("10.1.0.11", ["control", "network"]),
        "cmp1": ("10.1.0.21", ["compute"]),
        "cmp2": ("10.1.0.22", ["compute", "control"]),
    }
    assert inventory["cmp1"]["interfaces"] == {"network": "bond0.100"}
    assert yaml.safe_load((site / "globals.yml").read_text())["kolla_internal_vip_address"] == "10.1.0.5"
    assert yaml.safe_load((site / "reconciler.yml").read_text())["name"] == "berlin"
    assert "the site is valid: 3 hosts" in done.stdout


def test_at_a_real_terminal(tmp_path: Path) -> None:
    """The questions are on the terminal, stdout has the answer only."""
    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "HOME": str(tmp_path), "NO_COLOR": "1"}
    words = [PROGRAM, "init", tmp_path / "site", "--json"]
    with (
        subprocess.Popen(
            words,  # type: ignore[arg-type]
            stdin=slave,
            stderr=slave,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,  # type: ignore[arg-type]
        ) as process,
        contextlib.ExitStack() as ending,
    ):
        ending.callback(process.kill)  # after a failure nobody answers it any more
        os.close(slave)
        seen = ""
        for question, answer in (
            ("Name of the site [site]: ", ""),
            ("First host's name [ctl1]: ", "one"),
            ("Address of one in the management network [10.0.0.11]: ", "fd00:1::b"),
            ("(empty: no more): ", ""),
            ("A free address, for the services [fd00:1::fa]: ", ""),
            ("Interface of the management network [eth0]: ", ""),
        ):
            while question not in seen:
                assert select.select([master], [], [], 60)[0], f"no question {question!r} after {seen!r}"
                seen += os.read(master, 4096).decode()
            seen = seen.partition(question)[2]
            os.write(master, f"{answer}\n".encode())
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())
        assert process.wait(60) == 0
    os.close(master)
    assert answer["age_key_file"] == str(tmp_path / ".config/reconciler/site.agekey")
    assert set(answer["files"]) == FILES
    assert answer["actions"].keys() == {"one"}


def test_hosts_open_the_passwords_with_their_own_keys(cli: Cli, tmp_path: Path, config: Path, host_key: Path) -> None:
    site = tmp_path / "site"
    public = Path(f"{host_key}.pub")
    scanned = tmp_path / "scanned"  # as ssh-keyscan prints it
    scanned.write_text(f"# ctl1:22 SSH-2.0-OpenSSH_9.2p1\nctl1 {' '.join(public.read_text().split()[:2])}\n")
    hosts = ["--host", "ctl1=10.0.0.1", "--host", "cmp1=10.0.0.2"]
    done = cli("init", site, "--yes", *hosts, "--no-age-key", "--host-key", f"ctl1={scanned}")
    assert done.exit_code == 0, done.output
    assert not config.exists()
    content = (site / "passwords.yml").read_bytes()
    assert sops.recipients(content) == [" ".join(public.read_text().split()[:2])]
    assert sops.decrypt(content, name="passwords.yml", keys=sops.Keys(ssh_key_file=host_key))
    assert "ctl1: opens the passwords with its own ssh host key" in done.stdout
    inventory = yaml.safe_load((site / "inventory.yml").read_text())["hosts"]
    assert inventory["ctl1"]["report_key"] == sops.recipients(content)[0] and "report_key" not in inventory["cmp1"]
    listed = cli("secrets", "recipients", "list", site).stdout
    assert listed.splitlines()[1].split()[0] == "ctl1", (
        "a host is known by its key, so that it can be taken out by its name"
    )
    assert (
        "cmp1: run `reconciler secrets recipients add KEY` with the host's /etc/ssh/ssh_host_ed25519_key.pub"
        in done.stdout
    )

    both = cli("init", tmp_path / "both", "--yes", "--host-key", f"ctl1={public}", "--json")
    content = (tmp_path / "both/passwords.yml").read_bytes()
    assert len(sops.recipients(content)) == 2
    for keys in (sops.Keys(ssh_key_file=host_key), sops.Keys(Path(json.loads(both.stdout)["age_key_file"]))):
        assert sops.decrypt(content, name="passwords.yml", keys=keys)
    assert json.loads(both.stdout)["recipients"] == sops.recipients(content)


def test_another_host_is_let_in_as_the_comments_say(made: Made, tmp_path: Path, host_key: Path) -> None:
    site = shutil.copytree(made.site, tmp_path / "site")
    rules = site / ".sops.yaml"
    public = " ".join(Path(f"{host_key}.pub").read_text().split()[:2])
    rules.write_text(rules.read_text().rstrip() + f",\n      {public}\n")
    words = [sops.find_program(), "updatekeys", "--yes", "passwords.yml"]
    environment = {"PATH": os.environ["PATH"], "SOPS_AGE_KEY_FILE": str(made.key)}
    done = subprocess.run(words, cwd=site, env=environment, capture_output=True, text=True, check=False)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert f"  export SOPS_AGE_KEY_FILE={made.key}   # for sops edit passwords.yml\n" in made.result.stdout
    content = (site / "passwords.yml").read_bytes()
    assert sops.decrypt(content, name="passwords.yml", keys=sops.Keys(ssh_key_file=host_key))


def test_a_key_that_is_there_is_used_and_kept(cli: Cli, made: Made, tmp_path: Path) -> None:
    before = made.key.read_bytes()
    done = cli("init", tmp_path / "two", "--yes", "--age-key-file", made.key)
    assert "(it was there already)" in done.stdout
    assert made.key.read_bytes() == before
    content = (tmp_path / "two/passwords.yml").read_bytes()
    assert sops.decrypt(content, name="passwords.yml", keys=sops.Keys(made.key))


def test_wrong_options_are_told_and_nothing_is_made(
    cli: Cli, tmp_path: Path, host_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    for name in ("a", "b", "c", "d", ".hidden"):
        (full / name).touch()
    no_key = tmp_path / "nokey"
    no_key.write_text("ctl1 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYA\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    nameless = tmp_path / "nameless"
    nameless.write_text("AGE-SECRET-KEY-1\n")
    site = tmp_path / "site"
    cases: list[tuple[list[str | Path], str]] = [
        ([full], "is not empty (.hidden, a, b and 2 more): name a new folder [OutputNotEmpty]"),
        ([site, "--name", "a b"], "'a b' cannot be a name"),
        ([site, "--name", ""], "'' cannot be a name"),
        ([site, "--host", "ctl1"], "'ctl1' is not a host: write it NAME=ADDRESS"),
        ([site, "--host", "ctl1=here"], "'here' is not an IP address"),
        ([site, "--host", "ctl1=10.0.0.1,"], "'ctl1=10.0.0.1,' is not a host"),
        ([site, "--host", "a=10.0.0.1", "--host", "a=10.0.0.2"], "there is a host a already"),
        ([site, "--vip", "10.0.0.11"], "10.0.0.11 is the address of ctl1"),
        ([site, "--vip", "fd00::5"], "fd00::5 and the address of ctl1, 10.0.0.11, cannot be in one network"),
        ([site, "--interface", "a:\n- b"], "cannot be an interface"),
        ([site, "--host-key", "ctl1"], "--host-key ctl1: write it HOST=FILE, with one of ctl1"),
        ([site, "--host-key", f"ctl2={host_key}.pub"], "with one of ctl1"),
        ([site, "--host-key", f"ctl1={tmp_path}/absent"], "absent cannot be read: No such file or directory"),
        ([site, "--host-key", f"ctl1={binary}"], "binary cannot be read: it is not a text"),
        ([site, "--host-key", f"ctl1={no_key}"], "holds no ed25519 or RSA public key"),
        ([site, "--host-key", f"ctl1={host_key}"], "holds no ed25519 or RSA public key"),
        ([site, "--no-age-key"], "give --host-key [AnswerInvalid]"),
        ([site, "--age-key-file", site / "key"], "would lie in the site itself: keys stay outside"),
        ([site, "--age-key-file", nameless], "needs the line `# public key: age1…`"),
        ([site, "--age-key-file", nameless / "below"], "nameless"),  # found out last of all
        ([site, "--host", "ctl1=10.0.0.1,no-such-group"], "no-such-group"),
    ]
    before = everywhere(tmp_path)
    for words, message in cases:
        done = cli("init", *words, "--yes")
        assert done.exit_code == 1, words
        assert message in done.output, (words, done.output)
        assert "mistake in the program" not in done.output
        assert everywhere(tmp_path) == before, words
    monkeypatch.setenv("RECONCILER_SOPS", "/bin/false")
    (tmp_path / "empty").mkdir()
    before = everywhere(tmp_path)
    for folder in ("site", "empty", "new/er"):
        assert "[SopsFailed]" in cli("init", tmp_path / folder, "--yes").output
        assert everywhere(tmp_path) == before
    unanswered = cli("init", site, answers="site\n")
    assert 'nobody answers "First host\'s name": give it as an option, or --yes' in unanswered.output
    assert everywhere(tmp_path) == before


def test_a_clone_of_an_empty_repository(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _GIT_ENV.items():
        monkeypatch.setenv(name, value)
    git(tmp_path, "init", "-q", "--bare", "--initial-branch=main", "cloud.git")
    git(tmp_path, "clone", "-q", "cloud.git", "cloud")
    site = tmp_path / "cloud"
    done = cli("init", site, "--yes", "--git")
    assert done.exit_code == 0, done.output
    head = git(site, "rev-parse", "HEAD")
    assert f"10 files in {site}, committed as {head[:12]}\n" in done.stdout
    assert set(git(site, "ls-files").splitlines()) == FILES
    assert git(site, "status", "--porcelain") == ""
    git(site, "push", "-q", "origin", "main")

    # Somebody's first change, reviewed as a merge request's job would.
    git(site, "switch", "-q", "-c", "change")
    (site / "globals.yml").write_text((site / "globals.yml").read_text() + "keystone_api_workers: 3\n")
    changed = commit(site, "More workers for keystone")
    variables = {**os.environ, "CI_PROJECT_DIR": str(site), "CI_COMMIT_SHA": changed}
    words: list[str | Path] = [PROGRAM, "ci", "review", "--dry-run", "--base", "main"]
    review = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert review.returncode == 0, review.stderr
    assert "1 of 1 host changes" in review.stderr
    assert "keystone" in review.stdout
    assert "+" in review.stdout
    clean = cli("diff", "main", "change", "--site", site)
    assert "ctl1: " in clean.stdout
    assert "restart    keystone" in clean.stdout


def test_ipv6_and_committed_in_the_repository_around(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _GIT_ENV.items():
        monkeypatch.setenv(name, value)
    around = tmp_path / "around"
    around.mkdir()
    git(around, "init", "-q", "--initial-branch=trunk")
    (around / "staged").touch()
    git(around, "add", "staged")
    hosts = ["--host", "a=FD00:0::1", "--host", "b=fd00::2", "--vip", "fd00::5"]
    assert cli("init", around / "sites/one", "--yes", "--git", *hosts).exit_code == 0
    inventory = yaml.safe_load((around / "sites/one/inventory.yml").read_text())
    assert inventory["hosts"]["a"]["addresses"] == {"network": "fd00::1"}
    assert {path.removeprefix("sites/one/") for path in git(around, "ls-files", "sites").splitlines()} == FILES
    assert git(around, "status", "--porcelain") == "A  staged"


def test_the_folder_one_stands_in_and_nobody_known_to_git(tmp_path: Path) -> None:
    site = tmp_path / "My Cloud!"
    site.mkdir(mode=0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "GIT_COMMITTER_EMAIL": ""}
    words = [PROGRAM, "init", "--yes", "--git"]
    done = subprocess.run(words, cwd=site, env=environment, capture_output=True, text=True, check=False)  # type: ignore[arg-type]
    assert done.returncode == 1
    assert done.stderr.startswith("error: the site is made, and not committed: git commit: ")
    assert "[GitFailed]" in done.stderr
    assert below(site) == FILES
    assert (tmp_path / "home/.config/reconciler/My-Cloud.agekey").exists()
    assert {stat.S_IMODE(path.stat().st_mode) for path in site.iterdir()} == {0o755, 0o644}
    checked = subprocess.run([PROGRAM, "validate"], cwd=site, capture_output=True, text=True, check=True)
    assert checked.stdout == "the site is valid: 1 host\n"
