"""Every generated file is what its own program takes, on all hosts of all golden sites."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from reconciler.model import Desired
from reconciler.render import tokens
from tests.services import golden
from tests.services.test_services import ALL, desired

WITH_PROMETHEUS = [(case, host) for case, host in ALL if case == "monitoring" and host == "mon-1"]


def written(found: Desired, folder: Path) -> dict[str, Path]:
    """The files of a host in a folder, by their path below the config root, with something in the place of every secret."""
    paths = {}
    for file in found.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tokens.bind(file.content, dict.fromkeys(tokens.names(file.content), "a1B2c3D4e5F6g7H8i9J0ku")))
        paths[file.path] = path
    return paths


def run(*command: str | Path) -> str:
    """What a checker says when it refuses; empty when it does not."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


@pytest.mark.parametrize(("case", "host"), ALL)
def test_json_and_yaml_can_be_read(case: str, host: str, tmp_path: Path) -> None:
    seen = 0
    for name, path in written(desired(case, host), tmp_path).items():
        if name.endswith(".json"):
            json.loads(path.read_text())
        elif name.endswith((".yml", ".yaml", ".rules")):
            yaml.safe_load(path.read_text())
        seen += name.endswith((".json", ".yml", ".yaml"))
    assert seen


@pytest.mark.parametrize(("case", "host"), ALL)
def test_scripts_can_be_read_by_their_shell(case: str, host: str, tmp_path: Path) -> None:
    found = written(desired(case, host), tmp_path)
    shells = {path: first for path in found.values() if (first := _interpreter(path)) in ("bash", "sh")}
    refused = {str(path): said for path, shell in shells.items() if (said := run(shell, "-n", path))}
    assert not refused
    assert shells or case != "one_node"


def _interpreter(path: Path) -> str:
    """The program that the first line of a script names."""
    first = path.read_text().partition("\n")[0]
    return first[2:].split()[0].rpartition("/")[2] if first.startswith("#!") and first[2:].split() else ""


@pytest.mark.parametrize("release", ["", "2026.1"])
@pytest.mark.parametrize(("case", "host"), WITH_PROMETHEUS)
def test_prometheus_takes_its_configuration(case: str, host: str, release: str, tmp_path: Path) -> None:
    paths = written(golden.desired(case, host, release), tmp_path)
    assert run("promtool", "check", "config", paths["prometheus-server/prometheus.yml"]) == ""
    assert run("promtool", "check", "web-config", paths["prometheus-server/web.yml"]) == ""


def test_what_a_site_adds_to_prometheus_extends_it(tmp_path: Path) -> None:
    rules = "groups: [{name: own, rules: [{alert: Down, expr: up == 0, annotations: {summary: '{{ $labels.instance }}'}}]}]\n"
    files = {
        "config/prometheus/prometheus.yml.d/50-own.yml": b"scrape_configs: [{job_name: own, static_configs: [{targets: ['192.0.2.9:1']}]}]\n",
        "config/prometheus/mon-1/prometheus.yml.d/60-host.yml": b"global: {scrape_interval: 30s}\n",
        "config/prometheus/own.rules": rules.encode(),
        "config/prometheus/extras/certs/own.pem": b"own\n",
    }
    from reconciler.render import render

    found = render(golden.load(golden.HERE / "monitoring/site", files), "mon-1", "0" * 40)
    paths = written(found, tmp_path)
    config = yaml.safe_load(paths["prometheus-server/prometheus.yml"].read_text())
    jobs = [job["job_name"] for job in config["scrape_configs"]]
    assert {"own", "prometheus", "node", "mysqld", "blackbox_exporter", "openstack_exporter"} <= set(jobs)
    assert len(jobs) == len(set(jobs))
    assert config["global"]["scrape_interval"] == "30s"
    assert config["rule_files"] == ["/etc/prometheus/own.rules"]
    assert paths["prometheus-server/own.rules"].read_text() == rules, "rules are not rendered"
    assert paths["prometheus-server/extras/certs/own.pem"].exists()
    assert run("promtool", "check", "rules", paths["prometheus-server/own.rules"]) == ""
    # Whatever a service of the catalogue wants to be asked is there, under its name.
    assert {"etcd", "fluentd", "haproxy", "rabbitmq", "memcached", "elasticsearch_exporter", "proxysql"} <= set(jobs)
    wrong = paths["prometheus-server/prometheus.yml"]
    wrong.write_text(wrong.read_text() + "no_such_word: 1\n")
    assert "no_such_word" in run("promtool", "check", "config", wrong)
