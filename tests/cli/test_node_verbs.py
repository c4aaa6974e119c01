"""install, doctor and the operator's verbs on a node with a real engine and repository."""

import json
import signal
import stat
import subprocess
from pathlib import Path

import docker
import pytest

from tests.daemon.conftest import node  # noqa: F401 - a fixture
from tests.daemon.node import HOST, PROGRAM, TestNode
from tests.git import servers

pytestmark = pytest.mark.engine


def test_the_operators_verbs(node: TestNode, docker_client: docker.DockerClient) -> None:  # noqa: F811
    name = node.name("web")
    node.push_site(name)
    nothing = node.run("plan", check=False)
    assert (nothing.returncode, "[NoRevision]" in nothing.stderr) == (1, True)
    assert "no cycle was finished yet" in node.run("status").stdout

    first = node.run("reconcile", "--report-only")
    assert f"create     {name}  (new container)" not in first.stdout
    assert "ReportOnly" in first.stdout
    assert docker_client.containers.list(filters={"name": name}) == []
    planned = node.run("plan", "--detailed-exitcode", check=False)
    assert planned.returncode == 2
    assert f"  create     {name}  (new container)" in planned.stdout

    done = node.run("reconcile")
    assert "ready: 1 containers as wanted" in done.stdout
    again = json.loads(node.run("reconcile", "--json", "--no-poll").stdout)
    assert again["plan"].get("actions", []) == []
    assert node.run("drift").stdout.startswith("no drift (looked at ")
    assert node.run("plan", "--detailed-exitcode").returncode == 0

    work = node.folder / "work"
    servers.git(node.folder, "clone", "-q", str(node.repository), str(work))
    service = work / f"services/{name}/service.yml"
    service.write_text(service.read_text().replace("hello", "good evening"))
    against = node.run("plan", str(work), "--against", "node", "--no-diffs").stdout
    assert against.splitlines()[2] == f"  write      {name}/greeting  (content changed)", against

    docker_client.containers.get(name).update(cpu_shares=512)
    drift = node.run("drift", "--detailed-exitcode", check=False)
    assert drift.returncode == 2
    assert "cpu_shares: 512 → 0" in drift.stdout
    held = json.loads(node.run("drift", "--json").stdout)
    assert [action["target"] for action in held["to_heal"]] == [name]

    assert "no daemon runs" in node.run("suspend", "--reason", "testing").stdout
    assert "ready: no" not in node.run("reconcile").stdout
    assert "suspended by" in node.run("status").stdout
    assert node.run("status", "--detailed-exitcode", check=False).returncode == 2
    node.run("resume")
    assert node.run("resume").stdout == "was not suspended\n"
    healed = node.run("reconcile").stdout
    assert f"update     {name}" in healed
    assert node.run("status", "--detailed-exitcode").returncode == 0
    history = node.run("history", "-n", "1").stdout
    assert f"    update     {name}" in history
    assert json.loads(node.run("history", "--json").stdout)[0]["actions"][0]["drift"] is True

    words = [PROGRAM, "events", "--follow", "--config", node.settings_file]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follow:  # type: ignore[arg-type]
        assert follow.stdout is not None
        assert follow.stderr is not None
        assert follow.stderr.readline() == "engine connected\n"
        docker_client.containers.get(name).kill()
        assert f"{name}  kill signal=9" in follow.stdout.readline()
        assert f"{name}  die exitCode=137 (killed by hand (signal 9))" in follow.stdout.readline()
        follow.send_signal(signal.SIGINT)
        assert follow.wait(10) == 130

    assert node.run("retry").stdout == "there was nothing to try again\n"
    assert "[NotQuarantined]" in node.run("retry", name, check=False).stderr


def test_the_operators_word_for_a_rewritten_branch(node: TestNode) -> None:  # noqa: F811
    name = node.name("web")
    first = node.push_site(name)
    node.run("reconcile", "--report-only")
    files = {path: servers.git(node.repository, "show", f"main:{path}") + "\n" for path in servers.git(
        node.repository, "ls-tree", "-r", "--name-only", "main").splitlines()}  # fmt: skip
    rewritten = servers.force_push(node.repository, files, "rewritten")
    refused = node.run("reconcile", "--report-only")
    assert "[HistoryRewritten]" in refused.stdout
    assert node.anchor() == first
    accepted = node.run("anchor", "accept", rewritten, "--reason", "history was cleaned up")
    assert accepted.stdout.startswith(f"accepted {rewritten}")
    shown = node.run("anchor", "show").stdout
    assert "chosen by an operator: history was cleaned up" in shown
    assert "[RevisionUnknown]" in node.run("anchor", "accept", "nosuch", "--reason", "x", check=False).stderr


def test_doctor(node: TestNode) -> None:  # noqa: F811
    node.push_site(node.name("web"))
    rows = json.loads(node.run("doctor", "--json", check=False).stdout)
    verdicts = {(row["name"], row["verdict"]) for row in rows}
    assert {("versions", "ok"), ("engine", "ok"), ("git", "ok"), ("clock", "ok")} <= verdicts
    assert {row["name"] for row in rows} >= {"sops key", "permissions", "disk", "addresses", "ports", "kolla-ansible"}
    token = node.folder / "token"
    token.write_text("x")
    token.chmod(0o644)
    text = node.settings_file.read_text().replace("[git]\n", f'[git]\ntoken_file = "{token}"\n')
    node.settings_file.write_text(text.replace(node.engine_url, f"unix://{node.folder}/nobody.sock"))
    node.repository.rename(node.folder / "gone")
    broken = node.run("doctor", check=False)
    assert broken.returncode == 1
    assert f"fail  permissions    {token} has mode 0644: others may read it\n" in broken.stdout
    assert f"→ chmod 600 {token}" in broken.stdout
    assert "fail  engine " in broken.stdout
    assert "fail  git " in broken.stdout
    assert "Traceback" not in broken.stderr
    assert "no check is called" in node.run("doctor", "--only", "nonsense", check=False).stderr


def test_doctor_knows_whether_the_state_is_this_nodes(node: TestNode) -> None:  # noqa: F811
    def found() -> tuple[int, str]:
        done = node.run("doctor", "--only", "state", check=False)
        return done.returncode, done.stdout

    assert found()[0] == 0 and "none yet" in found()[1] and not node.state_dir.exists()
    node.push_site(node.name("web"))
    node.run("reconcile")
    assert found()[0] == 0 and f"it accepted {node.anchor()[:12]} last" in found()[1]
    anchor = (node.state_dir / "anchor.json").read_bytes()
    (node.state_dir / "anchor.json").unlink()
    assert found()[0] == 1 and "[StateLost]" in found()[1] and "anchor accept" in found()[1].replace("\n", " ")
    (node.state_dir / "anchor.json").write_bytes(anchor)
    assert found()[0] == 0
    node.state_dir.rename(node.folder / "away")
    assert found()[0] == 1 and "[StateLost]" in found()[1]


def test_doctor_knows_whether_the_key_fits(node: TestNode) -> None:  # noqa: F811
    key, other = node.folder / "key", node.folder / "other"
    for path in (key, other):
        servers.ssh_key(path)
    from reconciler.secrets import sops

    content = sops.encrypt({"unused": "value"}, [Path(f"{other}.pub").read_text()])
    node.push_site(node.name("web"))
    node.push({"passwords.yml": content.decode()})
    node.settings_file.write_text(node.settings_file.read_text() + f'[secrets]\nssh_key_file = "{key}"\n')
    node.run("reconcile", "--report-only", check=False)
    found = node.run("doctor", "--only", "sops key", check=False)
    assert found.returncode == 1
    assert "passwords.yml is not encrypted for this node" in found.stdout
    own = " ".join(Path(f"{key}.pub").read_text().split()[:2])
    assert f"run `reconciler secrets recipients add '{own}'` in the site" in found.stdout
    node.settings_file.write_text(node.settings_file.read_text().replace(f'"{key}"', f'"{other}"'))
    assert "it opens passwords.yml" in node.run("doctor", "--only", "sops key").stdout
    other.unlink()
    found = node.run("doctor", "--only", "sops key", check=False)
    assert found.returncode == 1 and f"{other} does not exist" in found.stdout and "ok " not in found.stdout


def test_install(node: TestNode, docker_client: docker.DockerClient) -> None:  # noqa: F811
    name = node.name("web")
    node.push_site(name)
    root = node.folder / "root"
    words = [
        "node", "install", "--root", str(root), "--url", f"file://{node.repository}", "--host", HOST,
        "--engine", node.engine_url, "--state-dir", str(node.state_dir), "--config-root", str(node.config_root),
        "--metrics", "",
    ]  # fmt: skip
    key = servers.ssh_key(node.folder / "key")
    words += ["--ssh-key-file", str(key)]
    first = node.run(*words)
    settings = root / "etc/reconciler/reconciler.toml"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert f"wrote      {settings}" in first.stdout
    assert "what the first pass will do (nothing was changed yet):" in first.stdout
    assert f"create     {name}  (new container)" in first.stdout and "ReportOnly" not in first.stdout
    assert "cycle.finished" not in first.stdout + first.stderr
    assert docker_client.containers.list(all=True, filters={"name": name}) == []
    assert f"--config {settings} run" in first.stdout
    unit = (root / "etc/systemd/system/reconciler.service").read_text()
    assert "ExecStart=/usr/local/bin/reconciler" not in unit
    assert "/reconciler run" in unit
    drop_in = (root / "etc/systemd/system/reconciler.service.d/paths.conf").read_text()
    assert f"ReadWritePaths=-{node.config_root}" in drop_in
    assert f"ReadWritePaths=-{node.state_dir}" in drop_in

    before = settings.read_bytes()
    again = node.run(*words)
    assert "wrote" not in again.stdout
    assert again.stdout.count("unchanged") == 4
    answer = json.loads(node.run(*words, "--json").stdout)
    assert set(answer["written"].values()) == {False}
    assert [a["target"] for a in answer["report"]["plan"]["actions"] if a["verb"] == "create"] == [name]
    reporting = json.loads(node.run(*words, "--mode", "report", "--force", "--json").stdout)
    assert reporting["report"]["plan"]["held"][0]["reason"] == "ReportOnly"
    node.run(*words, "--force")
    other = node.run(*words, "--branch", "production", check=False)
    assert other.returncode == 1
    assert '    +branch = "production"' in other.stdout
    assert "[SettingsDiffer]" in other.stderr
    assert settings.read_bytes() == before
    # a key that others may read, a branch that is not there
    key.chmod(0o644)
    wrong = node.run(*words, "--branch", "production", "--force", check=False)
    assert wrong.returncode == 1
    assert "[CheckFailed]" in wrong.stderr
    assert "has no branch 'production'" in wrong.stdout
    assert "others may read it" in wrong.stdout
    assert settings.read_bytes() == before
