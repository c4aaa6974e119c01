"""Desired state out of small services: containers, files, jobs, registrations, frontends, and every problem at once."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.codec import from_json, to_json
from reconciler.errors import SiteInvalid
from reconciler.model import Desired, Healthcheck, Mount, Reload, Ulimit
from reconciler.render import World, bind_tree, digest, failures, render, render_tree, tokens
from reconciler.render.meter import Exhausted, Meter
from tests.render.sites import container, file, job, make_site, one_service, rendered
from tests.support import sealed

KOLLA = """
    groups: {app: [control]}
    containers:
      my_app:
        group: app
        image: registry.example/kolla/app:2025.1@sha256:0000000000000000000000000000000000000000000000000000000000000000
        command: /usr/bin/app --listen 0
"""


def problems(body: str, files: dict[str, str] | None = None, **more: Any) -> list[str]:
    with pytest.raises(SiteInvalid) as caught:
        rendered(body, files, **more)
    return [str(problem) for problem in caught.value.problems]


# --- containers ------------------------------------------------------------------------------------------------


def test_a_kolla_container_gets_what_kolla_ansible_gives_it() -> None:
    desired = rendered(KOLLA)
    made = container(desired, "my_app")
    assert made.image == "registry.example/kolla/app:2025.1@sha256:" + "0" * 64
    assert made.command is None, "Kolla's start script reads it from config.json"
    assert made.environment == {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS", "KOLLA_SERVICE_NAME": "my-app"}
    assert made.mounts == (Mount("/etc/kolla/my-app", "/var/lib/kolla/config_files", "ro"),)
    assert made.network_mode == "host"
    assert made.config_directory == "my-app"
    assert made.healthcheck is None
    assert made.kolla
    assert json.loads(file(desired, "my-app/config.json").content) == {
        "command": "/usr/bin/app --listen 0",
        "config_files": [],
    }
    assert file(desired, "my-app/config.json").mode == 0o660


@pytest.mark.parametrize(
    "command",
    [
        "  run  --with  two ", "run --a='b c' \"d\"", r"run a\ b", "run a#b # c", "run $(x) & y; z | w > v", "run\ta\nb", "run \u00a0 a",
    ],
)  # fmt: skip
def test_a_command_is_split_as_a_shell_splits_it(command: str) -> None:
    body = f"containers:\n  app: {{image: x, kolla: false, command: {json.dumps(command)}}}\n"
    assert container(rendered(body), "app").command == tuple(shlex.split(command))


@pytest.mark.parametrize("path", ["../elsewhere", "a/../b", "a//b", "."])
def test_a_config_directory_stays_below_the_root(path: str) -> None:
    (found,) = problems(KOLLA + f"        config_directory: {path}\n")
    assert f"'{path}' is not a path below the config root" in found


def test_containers_are_only_where_their_group_has_the_host() -> None:
    body = (
        KOLLA + "      everywhere: {image: x, command: y}\n      off: {image: x, command: y, enabled: \"{{ 'no' }}\"}\n"
    )
    assert [made.name for made in rendered(body, host="ctl1").containers] == ["everywhere", "my_app"]
    assert [made.name for made in rendered(body, host="cmp1").containers] == ["everywhere"]


@pytest.mark.parametrize("value", ["false", '"{{ 1 == 2 }}"', "\"{{ 'no' }}\""])
def test_a_service_can_be_off(value: str) -> None:
    desired = rendered(KOLLA + f"    enabled: {value}\n")
    assert not desired.containers
    assert not desired.files


def test_every_option_of_a_container() -> None:
    desired = rendered("""
        containers:
          plain:
            kolla: false
            image: busybox
            command: [sh, -c, "sleep 1"]
            entrypoint: tini --
            environment: {EMPTY: null, NUMBER: 5, YES: true, TEXT: "{{ inventory_hostname }}"}
            volumes: ["data:/data", "/srv/:/srv:ro,z", "", "/a:/b:rshared"]
            tmpfs: ["/run:size=1m", ""]
            ports: ["80:80"]
            dns: [10.0.0.1]
            extra_hosts: ["a:10.0.0.2"]
            privileged: "{{ 'yes' }}"
            cap_add: [NET_ADMIN]
            security_opt: ["label=disable"]
            devices: [/dev/kvm]
            pid_mode: host
            ipc_mode: ""
            cgroupns_mode: private
            user: "1000"
            working_dir: /srv
            hostname: h
            init: true
            read_only: true
            shm_size: 64m
            sysctls: {net.ipv4.ip_forward: 1}
            group_add: [5]
            network_mode: bridge
            restart_policy: "on-failure:3"
            stop_signal: TERM
            stop_timeout: "{{ '20' }}"
            pids_limit: 100
            log_driver: json-file
            log_opts: {max-size: 1m}
            labels: {a: true}
            healthcheck: {test: ["CMD", "true"], interval: "10", timeout: 2m, retries: "4", start_period: 1.5}
            dimensions:
              mem_limit: 1g
              memswap_limit: 2g
              cpu_shares: "{{ '512' }}"
              cpuset_cpus: 0-1
              ulimits: {nofile: {soft: 1, hard: "{{ '2' }}"}, memlock: {soft: -1, hard: -1}}
            reload: {signal: HUP}
            rollback: never
            stability: 1
            start_timeout: "{{ '5m' }}"
            data_plane: true
            stateful: true
            log_files: [/var/log/x]
    """)
    made = container(desired, "plain")
    assert made.command == ("sh", "-c", "sleep 1")
    assert made.entrypoint == ("tini", "--")
    assert made.environment == {"EMPTY": "", "NUMBER": "5", "YES": "true", "TEXT": "ctl1"}
    assert made.mounts == (
        Mount("data", "/data", "rw"),
        Mount("/srv/", "/srv", "ro,z"),
        Mount("/a", "/b", "rshared,rw"),
    )
    assert made.tmpfs == {"/run": "size=1m"}
    assert made.extra_hosts == {"a": "10.0.0.2"}
    assert (made.privileged, made.init, made.read_only, made.pid_mode, made.ipc_mode) == (True, True, True, "host", "")
    assert (made.shm_size, made.mem_limit, made.memswap_limit, made.cpu_shares) == (64 << 20, 1 << 30, 2 << 30, 512)
    assert made.ulimits == (Ulimit("memlock", -1, -1), Ulimit("nofile", 1, 2))
    assert made.healthcheck == Healthcheck(("CMD", "true"), 10.0, 120.0, 4, 1.5)
    assert made.reload == Reload(signal="HUP")
    assert (made.rollback, made.stability, made.start_timeout) == ("never", 1.0, 300.0)
    assert (made.stop_timeout, made.restart_policy, made.network_mode) == (20, "on-failure:3", "bridge")
    assert made.labels == {"a": "true"}
    assert made.group_add == ("5",)
    assert made.config_directory == "", "it has no files"
    assert from_json(Desired, json.loads(json.dumps(to_json(desired)))) == desired


@pytest.mark.parametrize(
    ("text", "kolla", "expected"),
    [
        ("{}", True, None),
        ("{}", False, Healthcheck(("NONE",))),
        ("{test: [NONE]}", False, Healthcheck(("NONE",))),
        ("{test: NONE, interval: 1, retries: 1, timeout: 1, start_period: 1}", True, None),
        # as kolla-ansible's own defaults make it, where a list becomes text
        (
            "{test: \"{% if true %}{{ ['CMD-SHELL', 'x \\\\'y\\\\''] }}{% else %}NONE{% endif %}\"}",
            True,
            Healthcheck(("CMD-SHELL", "x 'y'")),
        ),
        ("{test: '[not a list]'}", True, Healthcheck(("CMD-SHELL", "[not a list]"))),
        ("{test: true-thing}", True, Healthcheck(("CMD-SHELL", "true-thing"))),
        (
            "\"{{ {'test': ['CMD-SHELL', 'x'], 'interval': '7'} }}\"",
            True,
            Healthcheck(("CMD-SHELL", "x"), interval=7.0),
        ),
    ],
)
def test_health_checks(text: str, kolla: bool, expected: Healthcheck | None) -> None:
    body = f"containers: {{c: {{image: x, command: y, kolla: {str(kolla).lower()}, healthcheck: {text}}}}}\n"
    assert container(rendered(body), "c").healthcheck == expected


def test_an_image_without_a_contract_gets_its_files_bound() -> None:
    desired = rendered("""
        containers:
          web:
            kolla: false
            image: nginx
            files:
              - {name: site.conf, content: "server {{ host.name }};\\n", destination: /etc/nginx/site.conf, perm: "0644", owner: "101"}
    """)
    made = container(desired, "web")
    assert made.mounts == (Mount("/etc/kolla/web/site.conf", "/etc/nginx/site.conf", "ro"),)
    assert made.command is None
    (only,) = desired.files
    assert (only.path, only.content, only.mode, only.owner, only.group) == (
        "web/site.conf",
        "server ctl1;\n",
        0o644,
        101,
        101,
    )


# --- files -----------------------------------------------------------------------------------------------------

FILES = """
    containers:
      my_app:
        image: x
        command: y
        files:
          - name: app.conf
            template: app.conf.j2
            merge: ini
            overrides: [global.conf, app.conf, "app/{container}.conf", "app/{host}/app.conf"]
            destination: /etc/app/app.conf
            owner: app
            perm: "0600"
            on_change: reload
          - {name: app.yaml, content: "a: {b: 1}\\n", merge: yaml, overrides: [app.yaml], destination: /etc/app/app.yaml}
          - {name: whole.txt, template: whole.j2, merge: replace, overrides: ["app/{host}/whole.txt", whole.txt]}
          - {name: policy.yaml, merge: replace, overrides: [app/policy.yaml], destination: /etc/app/policy.yaml, optional: true}
          - {name: raw.tmpl, content: "x", overrides: [raw.tmpl], verbatim: true}
          - {name: rules, overrides: ["rules/*.rules"], verbatim: true, destination: /etc/app/rules}
          - {name: plain.txt, source: plain.txt, optional: true}
        permissions:
          - {path: /var/log/kolla/app, owner: "app:app", recurse: true}
          - {path: /nowhere, owner: "app:app", enabled: false}
"""
TEMPLATES = {"app.conf.j2": "[DEFAULT]\nhost = {{ host.name }}\ndebug = False\n", "whole.j2": "{{ container }}\n"}


def test_overrides_apply_in_their_order() -> None:
    files = {
        "config/global.conf": "[DEFAULT]\ndebug = global\nwide = {{ groups.control | length }}\n",
        "config/app.conf": "[DEFAULT]\ndebug = service\n[new]\nx = 1\n",
        "config/app/my-app.conf": "[DEFAULT]\ndebug = container\n",
        "config/app/ctl1/app.conf": "[DEFAULT]\ndebug = {{ inventory_hostname }}\n",
    }
    desired = rendered(FILES, files, templates=TEMPLATES)
    made = file(desired, "my-app/app.conf")
    assert made.content == "[DEFAULT]\nhost = ctl1\ndebug = ctl1\nwide = 2\n\n[new]\nx = 1\n\n"
    assert made.sources == ("catalogue/app/templates/app.conf.j2", *files)
    assert (made.container, made.service, made.on_change, made.mode) == ("my_app", "app", "reload", 0o660)
    elsewhere = rendered(FILES, files, host="ctl2", templates=TEMPLATES)
    assert "debug = container\n" in file(elsewhere, "my-app/app.conf").content


def test_the_container_in_an_override_path_may_be_spelt_both_ways() -> None:
    body = FILES
    for spelling in ("my-app", "my_app"):
        desired = rendered(body, {f"config/app/{spelling}.conf": "[DEFAULT]\ndebug = x\n"}, templates=TEMPLATES)
        assert "debug = x\n" in file(desired, "my-app/app.conf").content


def test_the_first_replacement_that_is_there_wins() -> None:
    both = {"config/whole.txt": "general", "config/app/ctl1/whole.txt": "{{ host.name }}'s"}
    assert file(rendered(FILES, both, templates=TEMPLATES), "my-app/whole.txt").content == "ctl1's"
    assert file(rendered(FILES, both, host="ctl2", templates=TEMPLATES), "my-app/whole.txt").content == "general"
    assert file(rendered(FILES, templates=TEMPLATES), "my-app/whole.txt").content == "my_app\n"


def test_yaml_optional_verbatim_wildcard_and_source() -> None:
    files = {
        "config/app.yaml": "a: {c: 2}\n",
        "config/app/policy.yaml": "p: '{{ host.name }}'\n",
        "config/raw.tmpl": "{{ .Values.x }}",
        "config/rules/b.rules": "{{ $labels }}",
        "config/rules/a.rules": "a",
        "config/plain.txt": "on {{ host.name }}",
    }
    tree = render_tree(rendered(FILES, files, templates=TEMPLATES))
    assert tree["my-app/app.yaml"] == b"a:\n  b: 1\n  c: 2\n"
    assert tree["my-app/policy.yaml"] == b"p: 'ctl1'\n"
    assert tree["my-app/raw.tmpl"] == b"{{ .Values.x }}"
    assert (tree["my-app/rules/a.rules"], tree["my-app/rules/b.rules"]) == (b"a", b"{{ $labels }}")
    assert tree["my-app/plain.txt"] == b"on ctl1"
    without = render_tree(rendered(FILES, templates=TEMPLATES))
    assert not {"my-app/policy.yaml", "my-app/plain.txt", "my-app/rules/a.rules"} & without.keys()


def test_of_several_files_for_one_place_the_first_wins() -> None:
    body = FILES.replace('["rules/*.rules"]', '["rules/{host}/*.rules", "rules/*.rules"]')
    files = {"config/rules/ctl1/a.rules": "own", "config/rules/a.rules": "general", "config/rules/b.rules": "b"}
    tree = render_tree(rendered(body, files, templates=TEMPLATES))
    assert (tree["my-app/rules/a.rules"], tree["my-app/rules/b.rules"]) == (b"own", b"b")
    tree = render_tree(rendered(body, files, host="ctl2", templates=TEMPLATES))
    assert tree["my-app/rules/a.rules"] == b"general"


def test_config_json_names_every_destination() -> None:
    desired = rendered(FILES, templates=TEMPLATES)
    source = "/var/lib/kolla/config_files/"
    assert json.loads(file(desired, "my-app/config.json").content) == {
        "command": "y",
        "config_files": [
            {"source": source + "app.conf", "dest": "/etc/app/app.conf", "owner": "app", "perm": "0600"},
            {"source": source + "app.yaml", "dest": "/etc/app/app.yaml", "owner": "root", "perm": "0600"},
            {
                "source": source + "policy.yaml",
                "dest": "/etc/app/policy.yaml",
                "owner": "root",
                "perm": "0600",
                "optional": True,
            },
            {"source": source + "rules", "dest": "/etc/app/rules", "owner": "root", "perm": "0600", "optional": True},
        ],
        "permissions": [{"path": "/var/log/kolla/app", "owner": "app:app", "recurse": True}],
    }
    assert list(json.loads(file(desired, "my-app/config.json").content)["config_files"][0]) == [
        "source",
        "dest",
        "owner",
        "perm",
    ]


def test_a_file_stays_as_a_host_has_it_but_for_an_override() -> None:
    body = (
        KOLLA
        + '        files: [{name: id, content: "{{ ansible_facts.nodename }}", stays: true, overrides: ["app/{host}/id"]}]\n'
    )
    plain, said = rendered(body), rendered(body, {"config/app/ctl1/id": "said\n"})
    assert (file(plain, "my-app/id").content, file(plain, "my-app/id").stays) == ("controller-1", True)
    assert (file(said, "my-app/id").content, file(said, "my-app/id").stays) == ("said\n", False)


def test_rendering_is_deterministic() -> None:
    files = {"config/app.conf": "[z]\nb = 1\n[a]\na = 1\n", "config/app.yaml": "z: 1\na: 2\n"}
    first = json.dumps(to_json(rendered(FILES, files, templates=TEMPLATES)))
    turned = dict(reversed(files.items()))
    assert json.dumps(to_json(rendered(FILES, turned, templates=dict(reversed(TEMPLATES.items()))))) == first


def test_rendering_does_not_depend_on_the_hash_seed() -> None:
    program = "import json; from tests.render import test_build as t; from reconciler.codec import to_json; " + (
        "print(json.dumps(to_json(t.rendered(t.REGISTRATIONS, secrets={'app_password': 'x'}))),"
        " json.dumps(to_json(t.rendered(t.FILES, templates=t.TEMPLATES))))"
    )

    def output(seed: str) -> bytes:
        environment = {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        root = Path(__file__).parents[2]
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, check=True
        ).stdout

    assert output("1") == output("2") != b""


# --- secrets ---------------------------------------------------------------------------------------------------

SECRET = """
    passwords: {app_password: {kind: random}, app_key: {kind: ssh_key}}
    containers:
      my_app:
        image: x
        command: y
        files:
          - {name: app.conf, content: "[s]\\nurl = db://u:{{ app_password }}@h\\n", merge: ini, overrides: [app.conf]}
"""


def test_files_hold_tokens_and_name_their_secrets() -> None:
    files = {"config/app.conf": "[s]\nauth = {{ ('u:' ~ app_password) | b64encode }}\nhand = <<secret:app_password>>\n"}
    desired = rendered(SECRET, files, secrets={"app_password": "abc", "unused_password": "d"})
    made = file(desired, "my-app/app.conf")
    assert made.secrets == ("app_password",)
    assert set(desired.secrets) == {"app_password"}
    bound = bind_tree(desired, {"app_password": "s3cret"})["my-app/app.conf"].decode()
    assert bound == "[s]\nurl = db://u:s3cret@h\nauth = dTpzM2NyZXQ=\nhand = s3cret\n\n"
    assert "s3cret" not in json.dumps(to_json(desired))


def test_another_hosts_secret_is_a_problem_where_it_differs() -> None:
    body = SECRET.replace("{{ app_password }}", "{{ hostvars.ctl2.app_password }}")
    own = {"hosts/ctl2.passwords.yml": sealed.text({"app_password": "other"})}
    same = rendered(body, secrets={"app_password": "abc"})
    assert file(same, "my-app/app.conf").secrets == ("app_password",)
    assert file(rendered(body, own, host="ctl2", secrets={"app_password": "abc"}), "my-app/app.conf")
    (only,) = problems(body, own, secrets={"app_password": "abc"})
    assert "the secret app_password of the host ctl2 is not that of ctl1" in only


def test_a_missing_secret_is_a_problem() -> None:
    (only,) = problems(SECRET)
    assert only.startswith(
        "passwords.yml:1:1: the secret 'app_password' is missing; catalogue/app/service.yml needs it"
    )
    assert "reconciler secrets generate" in only


@pytest.mark.parametrize("value", ["", None])
def test_a_secret_without_a_value_is_a_problem(value: str | None) -> None:
    """sops leaves both as they are: whoever has the file sees it, with no key."""
    (only,) = problems(SECRET, secrets={"other": "abc", "app_password": value})
    line = sealed.text({"other": "abc", "app_password": value}).splitlines()
    number = next(n for n, text in enumerate(line, 1) if text.startswith("app_password:"))
    assert only.startswith(f"passwords.yml:{number}:")
    assert "the secret 'app_password' is empty; catalogue/app/service.yml needs it" in only
    assert "reconciler secrets generate" in only


def test_many_that_are_missing_for_one_reason_are_said_at_once() -> None:
    names = [f"app_{letter}_password" for letter in "abcdefg"]
    body = SECRET.replace("passwords: {", "passwords: {" + "".join(f"{name}: {{kind: random}}, " for name in names))
    uses = {"config/app/all.conf": " ".join(f"{{{{ {name} }}}}" for name in names)}
    (only,) = problems(
        body + "          - {name: all.conf, source: app/all.conf}\n", uses, secrets={"app_password": "abc"}
    )
    assert only == (
        "passwords.yml:1:1: many secrets are missing (run `reconciler secrets generate`; ctl1 needs 7 of them: "
        "app_a_password, app_b_password, app_c_password, app_d_password and 3 more)"
    )


def test_a_missing_secret_is_the_only_problem_however_often_it_is_used() -> None:
    """Nobody knows how large it would be, so nothing is too large with it."""
    often = {f"config/app/{number}.conf": "{{ app_password }} " * 100 for number in range(20)}
    body = SECRET + "".join(f"          - {{name: {path[11:]}, source: {path[7:]}}}\n" for path in often)
    (only,) = problems(body, often)
    assert "the secret 'app_password' is missing" in only


def test_a_host_may_take_more_where_the_site_has_more_hosts() -> None:
    """A controller's files name every host. One of a whole cloud of 1,200 hosts takes 3.2 million steps."""
    costs = []
    for hosts in (1, 1200):
        payer = Meter(hosts)
        with pytest.raises(Exhausted) as caught:
            payer.spend(10_000_000)
        costs.append(str(caught.value))
        with pytest.raises(Exhausted, match="MiB"):
            Meter(hosts).spend(0, 1 << 30)
    assert "3003000 steps" in costs[0] and "6600000 steps" in costs[1]
    site = one_service(SECRET, secrets={"app_password": "abc"})
    assert World(site).meter.most_steps == Meter(len(site.hosts)).most_steps > Meter().most_steps


def test_a_secret_in_the_engines_options_is_a_problem() -> None:
    body = """
    passwords: {app_password: {kind: random}}
    containers: {c: {image: x, kolla: false, command: "run --password {{ app_password }}", environment: {PW: "{{ app_password }}"}}}
    """
    found = problems(body, secrets={"app_password": "abc"})
    assert len(found) == 2
    assert all("docker inspect" in text and "app_password" in text for text in found)


def test_digests_follow_what_they_are_of() -> None:
    def digests(cipher: str = "abc", image: str = "x") -> tuple[str, str]:
        desired = rendered(SECRET.replace("image: x", f"image: {image}"), secrets={"app_password": cipher})
        return digest.spec_digest(container(desired, "my_app")), digest.part_digest(desired, "my_app")

    assert digests() == digests()
    assert digests()[0] == digests(cipher="other")[0]
    assert digests()[1] != digests(cipher="other")[1]
    assert digests()[0] != digests(image="y")[0]
    with pytest.raises(KeyError):
        digest.part_digest(rendered(KOLLA), "nosuch")


# --- jobs and order --------------------------------------------------------------------------------------------

JOBS = """
    groups: {app: [control]}
    requires: [base_service, nosuch_here]
    containers:
      app: {group: app, image: x, command: y, volumes: ["/d:/d"], environment: {A: 1, B: 2}, healthcheck: {test: t},
            files: [{name: app.conf, content: "c", destination: /c}, {name: both, content: "container"}]}
      app_side: {group: app, image: x, command: y, depends_on: [app, absent]}
    jobs:
      app_db_sync:
        container: app
        environment: {KOLLA_BOOTSTRAP: "", B: null}
        volumes: ["extra:/extra"]
        files: [{name: both, content: "job"}]
        command: sync
        inputs: ["{{ inventory_hostname | length }}"]
        after: [app_first]
        creates: "vol:done"
        migration: true
      app_first: {container: app, once: host, before: [app_side], timeout: "{{ '5m' }}"}
"""
BASE = "description: x\ncontainers: {base: {image: x, command: y}}\n"
OTHER = "description: x\nenabled: false\ncontainers: {absent: {image: x, command: y}}\n"


def jobs_site(body: str = JOBS) -> Any:
    services = {"app/service.yml": "description: x\n" + body.replace("\n    ", "\n")}
    return make_site({**services, "base_service/service.yml": BASE, "nosuch_here/service.yml": OTHER})


def test_jobs_take_after_their_container() -> None:
    desired = render(jobs_site(), "ctl1", "r")
    made = job(desired, "app_db_sync")
    assert made.owner == "ctl1"
    assert (made.before, made.after) == (("app", "app_side"), ("base", "app_first"))
    assert (made.creates, made.migration, made.once, made.timeout) == ("vol:done", True, "cluster", 600.0)
    spec = made.container
    assert spec.name == "app_db_sync"
    assert spec.environment == {
        "A": "1",
        "B": "",
        "KOLLA_BOOTSTRAP": "",
        "KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS",
        "KOLLA_SERVICE_NAME": "app-db-sync",
    }
    assert spec.mounts == (
        Mount("/etc/kolla/app-db-sync", "/var/lib/kolla/config_files", "ro"),
        Mount("/d", "/d", "rw"),
        Mount("extra", "/extra", "rw"),
    )
    assert (spec.healthcheck, spec.restart_policy, spec.depends_on) == (None, "no", ())
    tree = render_tree(desired)
    assert tree["app-db-sync/app.conf"] == b"c"
    assert tree["app-db-sync/both"] == b"job"
    assert json.loads(tree["app-db-sync/config.json"])["command"] == "sync"
    assert file(desired, "app-db-sync/both").container == "app_db_sync"
    assert job(desired, "app_first").before == ("app_side",)
    assert json.loads(tree["app-first/config.json"])["command"] == "y"


def test_only_the_owner_has_the_files_of_a_cluster_job() -> None:
    desired = render(jobs_site(), "ctl2", "r")
    assert job(desired, "app_db_sync").owner == "ctl1"
    assert job(desired, "app_first").owner == "ctl2"
    assert not [path for path in render_tree(desired) if path.startswith("app-db-sync/")]
    assert not render(jobs_site(), "cmp1", "r").jobs


def test_secrets_reach_a_job_through_a_file() -> None:
    body = """
    passwords: {pw: {kind: random}}
    containers: {app: {image: x, command: y, environment: {A: "1"}}}
    jobs:
      sync:
        container: app
        command: openstack user list --name ab
        secret_environment: {owner: app, variables: {OS_PASSWORD: "{{ pw }}", OS_NAME: "it's", PORT: 5000}}
    """
    desired = rendered(body, secrets={"pw": "x"})
    made = file(desired, "sync/secret-environment")
    assert tokens.bind(made.content, {"pw": "a'b $c"}) == (
        "export OS_PASSWORD='a'\"'\"'b $c'\nexport OS_NAME='it'\"'\"'s'\nexport PORT=5000\nexec \"$@\"\n"
    )
    assert made.secrets == ("pw",)
    config = json.loads(file(desired, "sync/config.json").content)
    assert config["command"] == "bash /run/reconciler/environment openstack user list --name ab"
    (entry,) = config["config_files"]
    assert (entry["dest"], entry["owner"], entry["perm"]) == ("/run/reconciler/environment", "app", "0600")
    assert "OS_PASSWORD" not in job(desired, "sync").container.environment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("OS_PASSWORD", "OS-PASSWORD"), "OS-PASSWORD is not a variable of an environment"),
        (("command: z, ", "command: '', "), "secrets reach a job through its command, and it says none"),
    ],
)
def test_a_jobs_secrets_that_could_not_arrive_are_refused(change: tuple[str, str], message: str) -> None:
    body = (
        "passwords: {pw: {kind: random}}\ncontainers: {app: {image: x, command: y}}\n"
        'jobs: {sync: {container: app, command: z, secret_environment: {variables: {OS_PASSWORD: "{{ pw }}"}}}}\n'
    )
    assert change[0] in body
    with pytest.raises(SiteInvalid) as caught:
        rendered(body.replace(*change), secrets={"pw": "x"})
    assert any(message in str(problem) for problem in caught.value.problems)


def test_memory_that_ran_out_is_no_fault_of_the_text_that_asked_next() -> None:
    with pytest.raises(MemoryError):
        failures.refuse(MemoryError(), cast(failures.Names, {}), "config/a.conf", 1, 1)


def test_a_jobs_inputs_are_not_its_files() -> None:
    first = job(render(jobs_site(), "ctl1", "r"), "app_db_sync").inputs
    assert (
        job(render(jobs_site(JOBS.replace('content: "c"', 'content: "d"')), "ctl1", "r"), "app_db_sync").inputs == first
    )
    for change in (
        ("image: x", "image: y"),
        ("| length", "| upper"),
        ("command: sync", "command: other"),
        ("A: 1", "A: 2"),
    ):
        assert job(render(jobs_site(JOBS.replace(*change)), "ctl1", "r"), "app_db_sync").inputs != first


def test_dependencies_are_those_on_this_host() -> None:
    desired = render(jobs_site(), "ctl1", "r")
    assert container(desired, "app_side").depends_on == ("base", "app")
    assert container(desired, "app").depends_on == ("base",)


def test_containers_that_wait_for_each_other_are_a_problem() -> None:
    body = """
    containers:
      a: {image: x, command: y, depends_on: [b]}
      b: {image: x, command: y, depends_on: [a]}
    """
    (only,) = problems(body)
    assert "these wait for each other: a → b → a" in only


def test_a_circle_by_way_of_a_registration_is_a_problem() -> None:
    app = """
description: x
requires: [lb]
containers: {app: {image: x, command: y}}
provides: {mariadb: {host: h, needs: [app]}}
"""
    lb = """
description: x
containers: {lb: {image: x, command: y}}
registrations: {mariadb: {databases: [{name: lb}]}}
"""
    with pytest.raises(SiteInvalid, match="wait for each other: app → lb → app"):
        render(make_site({"app/service.yml": app, "lb/service.yml": lb}), "ctl1", "r")


# --- registrations ---------------------------------------------------------------------------------------------

REGISTRATIONS = """
    groups: {app: [control]}
    passwords: {app_password: {kind: random}}
    containers: {app: {group: app, image: x, command: y}, off: {image: x, command: y, enabled: false}}
    registrations:
      mariadb:
        databases: [{name: app}]
        users:
          - {name: app, password: "{{ app_password }}", grants: [{database: app, privileges: [select, INSERT]}]}
      rabbitmq:
        vhosts: [{name: /}]
        users:
          - {name: app, password: "{{ app_password }}", tags: [b, a], permissions: [{vhost: /, configure: ".*", write: ".*", read: ".*"}]}
      keystone:
        services:
          - {name: app, type: thing, endpoints: {internal: "http://{{ host.name }}", public: ""}}
        users: [{name: app, password: "{{ app_password }}", project: service, roles: [admin], system_roles: [reader], domain_roles: [member]}]
        assignments:
          - {user: boss, project: office, roles: [reader]}
          - {user: nobody, project: office, roles: [reader], enabled: false}
        roles: [{name: reader}, {name: off, enabled: false}]
    provides:
      mariadb: {host: h, password: "{{ app_password }}", needs: [app, off]}
"""


def test_registrations() -> None:
    desired = rendered(REGISTRATIONS, secrets={"app_password": "abc"})
    found = {item.id: item for item in desired.registrations}
    token = "<<secret:app_password>>"
    assert {key: item.fields for key, item in found.items()} == {
        "mariadb:database:app": {"name": "app"},
        "mariadb:user:app@%": {"name": "app", "host": "%", "password": token},
        "mariadb:grant:app@%:app.*": {
            "user": "app",
            "host": "%",
            "database": "app",
            "table": "*",
            "privileges": ["INSERT", "SELECT"],
            "grant_option": False,
        },
        "rabbitmq:vhost:/": {"name": "/"},
        "rabbitmq:user:app": {"name": "app", "password": token, "tags": ["a", "b"]},
        "rabbitmq:permission:app@/": {"user": "app", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
        "keystone:service:app": {"name": "app", "type": "thing", "description": ""},
        "keystone:endpoint:app/internal/RegionOne": {
            "service": "app",
            "type": "thing",
            "interface": "internal",
            "region": "RegionOne",
            "url": "http://ctl1",
        },
        "keystone:user:default/app": {"name": "app", "domain": "default", "password": token},
        "keystone:role_assignment:default/app/service/admin": {
            "user": "app",
            "domain": "default",
            "role": "admin",
            "project": "service",
        },
        "keystone:role_assignment:default/app/system/reader": {
            "user": "app",
            "domain": "default",
            "role": "reader",
            "system": "all",
        },
        "keystone:role_assignment:default/app/domain/member": {
            "user": "app",
            "domain": "default",
            "role": "member",
            "on_domain": "default",
        },
        "keystone:role_assignment:default/boss/office/reader": {
            "user": "boss",
            "domain": "default",
            "role": "reader",
            "project": "office",
        },
        "keystone:role:reader": {"name": "reader"},
    }
    assert {item.owner for item in found.values()} == {"ctl1"}
    assert found["rabbitmq:vhost:/"].before == ("app",), "what a container counts on comes first"
    assert found["mariadb:database:app"].before == (), "the provider itself cannot wait for it"
    assert found["keystone:service:app"].before == ()
    (registrar,) = desired.registrars
    assert (registrar.kind, registrar.needs) == ("mariadb", ("app",))
    assert registrar.connection == {"host": "h", "password": token}


def test_only_the_owner_registers_and_has_the_secrets() -> None:
    desired = rendered(REGISTRATIONS, host="cmp1")
    assert not desired.registrations
    assert not desired.registrars
    assert not desired.secrets


def shared(second_tags: str) -> Any:
    def service(name: str, tags: str) -> str:
        users = f"[{{name: openstack, password: p, tags: [{tags}]}}]"
        return f"description: x\ncontainers: {{{name}: {{image: x, command: y}}}}\nregistrations: {{rabbitmq: {{users: {users}}}}}\n"

    return make_site({"a/service.yml": service("a", "t"), "b/service.yml": service("b", second_tags)})


def test_what_two_services_register_alike_is_one() -> None:
    (only,) = render(shared("t"), "ctl1", "r").registrations
    assert (only.service, only.before) == ("a", ("a", "b"))
    with pytest.raises(SiteInvalid, match="registered by a too, in different words"):
        render(shared("other"), "ctl1", "r")


# --- collections -----------------------------------------------------------------------------------------------


def test_frontends_scrape_targets_and_logs_reach_templates() -> None:
    app = """
description: x
groups: {app: [control]}
containers: {app: {group: app, image: x, command: y}}
frontends:
  app_internal: {mode: http, port: "{{ 8000 }}", listen_port: 8001, group: app, active_passive: true}
  app_external: {mode: tcp, external: "{{ 'yes' }}", port: 9000, hosts: [ctl2, db.example], network: tunnel}
  app_off: {mode: http, port: 1, group: app, enabled: false}
scrape: {app: {port: 9101, group: app}}
logs: {app: {paths: [/var/log/app/*.log], format: oslo}}
"""
    off = "description: x\nenabled: false\nfrontends: {off: {mode: http, port: 1, hosts: [a]}}\n"
    lb = """
description: x
containers:
  lb:
    image: x
    command: y
    files:
      - {name: f.json, content: "{{ frontends | to_json }}"}
      - {name: s.json, content: "{{ scrape_targets | to_json }}"}
      - {name: l.json, content: "{{ log_inputs | to_json }}"}
"""
    whole = make_site({"app/service.yml": app, "off/service.yml": off, "lb/service.yml": lb})

    def seen(host: str, name: str) -> Any:
        return json.loads(file(render(whole, host, "r"), f"lb/{name}.json").content)

    external, internal = seen("cmp1", "f")
    assert (internal["name"], internal["service"], internal["port"], internal["external"]) == (
        "app_internal",
        "app",
        8000,
        False,
    )
    assert internal["members"] == [
        {"host": "ctl1", "name": "controller-1", "address": "10.0.0.11", "port": 8001, "backup": False},
        {"host": "ctl2", "name": "ctl2", "address": "10.0.0.12", "port": 8001, "backup": True},
    ]
    assert [(member["address"], member["port"]) for member in external["members"]] == [
        ("10.0.0.12", 9000),
        ("db.example", 9000),
    ]
    assert seen("ctl1", "f") == seen("cmp1", "f")
    (target,) = seen("cmp1", "s")
    assert (target["path"], [member["address"] for member in target["members"]]) == (
        "/metrics",
        ["10.0.0.11", "10.0.0.12"],
    )
    assert [entry["name"] for entry in seen("ctl1", "l")] == ["app"]
    assert [entry["here"] for entry in (*seen("ctl1", "l"), *seen("cmp1", "l"))] == [True, False]


def test_a_service_without_a_host_is_not_there() -> None:
    body = REGISTRATIONS.replace("groups: {app: [control]}", "groups: {app: [control], empty: []}").replace(
        "group: app", "group: empty"
    )
    body = body.replace("off: {image", "off: {group: empty, image")
    desired = rendered(body)
    assert not (desired.registrations or desired.registrars or desired.containers)


def test_one_world_for_many_hosts_gives_the_same() -> None:
    whole = jobs_site()
    world = World(whole)
    for host in (*whole.hosts, *whole.hosts):
        assert render(whole, host, "r", world) == render(whole, host, "r")


# --- problems --------------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once() -> None:
    body = """
    containers:
      one:
        image: "{{ imag }}"
        command: y
        volumes: ["relative"]
        files:
          - {name: a, content: "{{ nosuch_a }}"}
          - {name: b, template: b.j2, merge: ini, overrides: [b.conf]}
          - {name: c, content: "fine"}
      two:
        image: x
        command: y
        stop_timeout: "{{ 'soon' }}"
        dimensions: {mem_limit: "{{ 'lots' }}"}
    """
    files = {"config/b.conf": "[s]\n\n{{ nosuch_b }}\n"}
    found = problems(body, files, templates={"b.j2": "x = 1\n{{ nosuch_c.d }}\n"})
    text = "\n".join(found)
    for words in (
        "'imag' is not",
        "source:target",
        "nosuch_a",
        "templates/b.j2:2:1",
        "stop_timeout must be an integer",
        "mem_limit",
    ):
        assert words in text
    found = problems(body, files, templates={"b.j2": "x = 1\n"})
    assert any(line.startswith("config/b.conf:3:1: the variable 'nosuch_b' is not defined") for line in found)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("command: [a]\n        files: [{name: ../x, content: a}]", "not a path below"),
        ("command: a\n        files: [{name: x, content: a}, {name: x, content: b}]", "is also made for my_app"),
        (
            "command: a\n        files: [{name: x, overrides: [x.conf]}]",
            "config/x.conf:1:1: is missing (write it: catalogue/",
        ),
        ("command: a\n        files: [{name: x}]", "neither a template nor an override"),
        ("command: ''", "has no command"),
        ("command: [bash, -c, 'a; b']", "'a; b' cannot be one word of a command (Kolla's start program splits"),
        ("command: a\n        files: [{name: x, content: a, merge: none, overrides: [x]}]", "reads no overrides"),
        ("command: a\n        volumes: ['/a:/c', '/b:/c/']", "have the same target"),
        ("command: a\n        healthcheck: {test: [true-thing]}", "begins with CMD"),
        ("command: a\n        reload: \"{{ {'signal': 'HUP', 'command': 'x'} }}\"", "either signal or command"),
        (
            "command: a\n        group: '{{ \"contrl\" }}'",
            "no group 'contrl' in the inventory (did you mean 'control'?)",
        ),
        ("command: a\n        kolla: '{{ [] }}'", "kolla must be true or false"),
    ],
)
def test_what_a_container_cannot_be(more: str, message: str) -> None:
    body = f"""
    containers:
      my_app:
        image: x
        {more}
    """
    assert any(message in text for text in problems(body)), problems(body)


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(SiteInvalid, match=r"no host 'ctl9' \(it has ctl1, ctl2, cmp1\)"):
        render(one_service(KOLLA), "ctl9", "r")


def test_an_override_that_cannot_be_merged_has_its_place() -> None:
    found = problems(FILES, {"config/app.conf": "[s\n", "config/app.yaml": "- 1\n"}, templates=TEMPLATES)
    assert found[0].startswith("config/app.conf:1:1: a section header does not end with `]`")
    assert found[1].startswith("config/app.yaml:1:1: is not a YAML mapping")


# --- a folder of files, and one file in two places ------------------------------------------------------------------


FOLDER = """
containers:
  app:
    image: r/app:1
    command: run
    files:
      - {name: "ceph/{{ item }}.conf", each: "{{ ['one', 'two', 'one'] }}", overrides: ["app/{{ item }}.conf"]}
      - {name: ceph, destination: /etc/ceph, owner: app}
      - {name: ca/root.crt, content: c, destination: /first}
      - {name: ca/root.crt, content: c, destination: /second}
jobs:
  sync: {container: app, files: [{name: note, content: n}]}
"""


def test_a_folder_of_files_above_it_is_delivered_as_one() -> None:
    files = {"config/app/one.conf": "1", "config/app/two.conf": "2"}
    found = rendered(FOLDER, files)
    for owner in ("app", "sync"):
        entries = json.loads(file(found, f"{owner}/config.json").content)["config_files"]
        assert entries[0] == {
            "source": "/var/lib/kolla/config_files/ceph", "dest": "/etc/ceph", "owner": "app", "perm": "0600"
        }  # fmt: skip
        assert [entry["dest"] for entry in entries[1:3]] == ["/first", "/second"]
        assert {item.path for item in found.files if item.path.startswith(f"{owner}/ceph")} == {
            f"{owner}/ceph/one.conf", f"{owner}/ceph/two.conf"
        }  # fmt: skip
    assert [item.path for item in found.files].count("app/ca/root.crt") == 1


def test_a_folder_of_no_files_is_an_error() -> None:
    with pytest.raises(SiteInvalid, match="ceph has neither a template nor an override"):
        rendered(FOLDER.replace('"ceph/{{', '"other/{{'), {"config/app/one.conf": "1", "config/app/two.conf": "2"})


def test_a_folder_whose_files_could_not_be_made_is_not_blamed_for_it() -> None:
    assert {text.partition(" (")[0] for text in problems(FOLDER)} == {
        "config/app/one.conf:1:1: is missing", "config/app/two.conf:1:1: is missing"
    }  # fmt: skip


def test_a_folder_that_is_made_is_no_permission_of_one_that_is_there() -> None:
    made = rendered(
        """
    groups: {app: [control]}
    containers:
      my_app:
        group: app
        image: x
        command: y
        permissions:
          - {path: /var/log/app, owner: "app:app", recurse: true}
          - {path: /var/lib/app/tmp, owner: "app:app", perm: "0700", create: true}
          - {path: /never, create: true, enabled: false}
"""
    )
    said = json.loads(file(made, "my-app/config.json").content)
    assert said["permissions"] == [{"path": "/var/log/app", "owner": "app:app", "recurse": True}]
    assert said["directories"] == [{"path": "/var/lib/app/tmp", "owner": "app:app", "perm": "0700"}]
