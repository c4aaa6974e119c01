"""The steps of the day, in their order; the first line of each docstring is its headline in docs/tutorial.md.

Every step does what an operator would, with the real programs, and checks what the tutorial says about it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.day.bed import ADDRESS, CONTAINERS, HOST, NAME, VIP, Day, DayFailed
from tests.review import ci_local

Step = Callable[[Day], None]
CACHE = "memcached"

SWITCHES = """\
# Only what a first day needs: no database, no messages, no OpenStack; one host keeps the address.
enable_openstack_core: false
enable_mariadb: false
enable_rabbitmq: false
enable_keepalived: false

# This machine is small, and its containers may not have more open files than it has.
default_container_dimensions: {}
haproxy_max_connections: 2000
enable_proxysql: false
enable_fluentd: false
"""
MORE_CACHE = """\
memcached_max_memory: 512
enable_haproxy_memcached: true
"""
WINDOW = """\
windows:
  - {name: nights, time_zone: Europe/Berlin, days: [mon, tue, wed, thu], from: "22:00", to: "05:00"}
"""


def make_site(day: Day) -> None:
    """A site"""
    with day.listing("clone"):
        day.type("git clone https://git.example.org/cloud/site.git ~/hill")
    with day.listing("init"):
        day.type(
            f"reconciler init . --name {NAME} --host {HOST}={ADDRESS} --vip {VIP} --interface lo --host-key {HOST}=../ctl1.pub "
            "--git --yes"
        )
    with day.listing("switches", "yaml"):
        day.append("globals.yml", SWITCHES)
    # Where this machine lets the node write; an installed one writes below /etc/kolla anyway.
    day.append("globals.yml", f"node_config_directory: {day.config_root}\n")
    with day.listing("policy", "diff"):
        day.replace("reconciler.yml", "  mode: heal", "  mode: heal\n  services:\n    memcached: report")
    with day.listing("plan"):
        day.type("reconciler validate .")
        planned = day.type("reconciler plan --base nothing --no-diffs .")
    _require("create     haproxy" in planned and planned.count("  create ") == len(CONTAINERS), planned)
    with day.listing("push"):
        day.type('git commit --quiet -am "A small cloud to begin with"')
        day.type("git push --quiet")
    day.head = day.call("git", "rev-parse", "HEAD").strip()


def make_node(day: Day) -> None:
    """A node"""
    with day.listing("install"):
        printed = day.on_node(
            "reconciler node install --url https://git.example.org/cloud/site.git --branch main --host ctl1 "
            "--token-file /etc/reconciler/token --ca-file /etc/reconciler/ca.pem",
            also=[
                *("--root", str(day.machine), "--no-start", "--engine", day.engine_url, "--metrics", day.page),
                *("--state-dir", str(day.state), "--config-root", str(day.config_root)),
                *("--ssh-key-file", str(day.host_key)),
            ],
            log=False,
            cut=(23, 0),
        )
    _require("A small cloud to begin with" in printed, printed)
    # What it sets on its host is set in a tree; an installed one says nothing of that, and its host is the machine.
    day.config.write_text(f'root = "{day.machine}"\n{day.config.read_text()}')
    with day.listing("settings", "toml"):
        day.settings("git", "testing = true")
        day.settings("daemon", 'webhook = {secret_file = "/etc/reconciler/webhook"}')
        day.settings(
            "forge",
            'kind = "gitlab"\nurl = "https://git.example.org"\nproject = "cloud/site"\ntoken_file = "/etc/reconciler/token"',
        )
        day.settings(
            "alerts",
            "settle = 1                       # seconds that something must be well again; 120 unless told otherwise",
        )
        day.settings(
            "alerts.targets.gitlab",
            'kind = "gitlab"\nurl = "https://git.example.org/cloud/site/alerts/notify/reconciler/0123456789abcdef.json"\n'
            'key_file = "/etc/reconciler/alerts.key"',
        )
    day.start_daemon()
    day.converged()
    _require(set(day.seen()) == set(CONTAINERS), str(day.seen()))
    day.wait("all are healthy", lambda: day.condition("Ready").get("status"))
    with day.listing("converged"):
        day.on_node("reconciler status")
        day.on_node("docker ps --format '{{.Names}}: {{.Image}}'")


def propose(day: Day) -> None:
    """A change, seen before it happens"""
    day.clock("10:00")
    with day.listing("branch"):
        day.type("git switch --quiet -c more-cache")
    with day.listing("more_cache", "yaml"):
        day.append("globals.yml", MORE_CACHE)
    with day.listing("planned"):
        planned = day.type("reconciler plan .")
    _require("restart    memcached" in planned and "reload     haproxy" in planned, planned)
    with day.listing("proposed"):
        day.type('git commit --quiet -am "More memory for the cache, and a frontend for it"')
        day.type("git push --quiet")
    base = day.head
    number = day.open_request("more-cache", "More memory for the cache, and a frontend for it")
    _review(day, number, "more-cache", base)
    (note,) = (n for n in day.project.merge_request(number).notes)
    _require(note.author.username == "reconciler-review" and "1 of 1 host changes" in note.body, note.body)
    day.pictures["note"] = note.body


def merge(day: Day) -> None:
    """Merged"""
    day.clock("10:20")
    before = day.seen()
    day.merge("more-cache")
    day.converged()
    after = day.seen()
    changed = {name for name in CONTAINERS if before[name] != after[name]}
    _require(changed == {CACHE}, f"changed: {changed}")
    with day.listing("statuses", "") as block:
        block.rows += day.told("success")
    with day.listing("taken"):
        told = day.on_node("reconciler history -n 1")
    _require("reload     haproxy" in told and f"/merge_requests/{day.requests['more-cache']}" in told, told)


def drift(day: Day) -> None:
    """Somebody was on the host"""
    day.clock("11:30")
    conf = day.config_root / "cron/logrotate.conf"
    good = conf.read_bytes()
    with day.listing("edited"):
        day.on_node("sed -i s/weekly/daily/ /etc/kolla/cron/logrotate.conf")
    day.wait("the file is as the site says", lambda: conf.read_bytes() == good)
    day.wait("it is in the history", lambda: "logrotate.conf" in day.call("reconciler", "events", node=True))
    with day.listing("healed"):
        day.on_node("reconciler events")
    day.clock("11:40")
    with day.listing("stopped"):
        day.on_node("docker stop memcached")
    alerts = day.project.alerts
    day.wait("GitLab has an alert", lambda: alerts)
    text = str(alerts[0].payload.get("description"))
    _require("stopped by hand at " in text, json.dumps(alerts[0].payload))
    with day.listing("alert", "") as block:
        block.rows += _alert(day, alerts[0].payload)
    with day.listing("drifted"):
        told = day.on_node("reconciler drift")
        _require("memcached  it stopped" in told, told)
        told = day.on_node("reconciler status")
        _require("memcached: stopped by hand at " in told, told)
    with day.listing("drift_status", "") as block:
        block.rows += day.told("failed")
    day.pictures["drift"] = f"http://{day.page}/"


def heal(day: Day) -> None:
    """Put right"""
    day.clock("12:05")
    with day.listing("heal_branch"):
        day.type("git switch --quiet -c heal-the-cache")
    with day.listing("heal_policy", "diff"):
        day.replace("reconciler.yml", "  services:\n    memcached: report\n", "")
    with day.listing("heal_plan"):
        day.type("reconciler plan .")
        day.type('git commit --quiet -am "The cache is put right like everything else"')
        day.type("git push --quiet")
    day.open_request("heal-the-cache", "The cache is put right like everything else")
    day.merge("heal-the-cache")
    day.converged()
    alerts = day.project.alerts
    day.wait("the alert is resolved", lambda: [a.status for a in alerts] == ["resolved"])
    with day.listing("put_right"):
        told = day.on_node("reconciler history -n 1")
    _require("memcached" in told, told)


def try_on_host(day: Day) -> None:
    """Tried on one host"""
    day.clock("14:00")
    conf, main = day.config_root / "cron/logrotate.conf", day.head
    good = conf.read_bytes()
    with day.listing("try"):
        day.type("git switch --quiet -c keep-logs-longer")
    with day.listing("longer", "yaml"):
        day.append("globals.yml", "cron_logrotate_rotation_count: 12\n")
    with day.listing("tried"):
        day.type('git commit --quiet -am "Logs are kept for twelve weeks"')
        day.type("git push --quiet origin HEAD:testing/ctl1")
    day.hook()
    tried = day.call("git", "rev-parse", "HEAD").strip()
    day.converged(tried)
    _require(conf.read_bytes() != good and b"rotate 12" in conf.read_bytes(), conf.read_text())
    with day.listing("trying"):
        told = day.on_node("reconciler status")
        _require("TestingBranch" in told, told)
    day.clock("14:30")
    with day.listing("left"):
        day.type("git push --quiet origin --delete testing/ctl1")
    day.hook()
    day.wait("the node is back", lambda: day.report().get("revision") == main and conf.read_bytes() == good)
    day.wait("it says so", lambda: day.condition("Ready").get("status"))
    with day.listing("back"):
        day.on_node("reconciler history -n 2")


def window(day: Day) -> None:
    """Not before the night"""
    day.clock("15:10")
    day.call("git", "switch", "--quiet", "main")
    before = day.seen()
    with day.listing("window_branch"):
        day.type("git switch --quiet -c nights")
    with day.listing("window", "yaml"):
        day.append("reconciler.yml", WINDOW)
    with day.listing("connections", "yaml"):
        day.append("globals.yml", "memcached_connection_limit: 10000\n")
    with day.listing("window_push"):
        day.type('git commit --quiet -am "Changes at night; more connections to the cache"')
        day.type("git push --quiet")
    day.open_request("nights", "Changes at night; more connections to the cache")
    day.merge("nights")
    day.wait("the change waits", lambda: day.condition("Ready").get("reason") == "OutsideWindow")
    with day.listing("waiting"):
        told = day.on_node("reconciler status")
    _require("until 2026-03-02 22:00 CET" in told, told)
    with day.listing("waiting_status", "") as block:
        block.rows += day.told("pending")
    _require(day.seen() == before, "something was touched before the window opened")
    day.clock("22:00")
    day.hook()  # the next pass would come within a minute
    day.converged()
    _require(day.seen()[CACHE] != before[CACHE], "memcached is the one of the day")
    with day.listing("night_status", "") as block:
        block.rows += day.told("success")


def look_back(day: Day) -> None:
    """What was that?"""
    day.clock("09:00", "2026-03-03")
    with day.listing("history"):
        told = day.on_node("reconciler history --no-actions")
    _require(all(f"/merge_requests/{n}" in told for n in day.requests.values()), told)
    with day.listing("diff"):
        told = day.type("reconciler diff HEAD~1 HEAD --host ctl1")
    _require("memcached" in told and "10000" in told, told)
    if day.forge.violations:
        raise DayFailed("GitLab's API description does not allow this:\n" + "\n".join(day.forge.violations[:5]))


STEPS: tuple[Step, ...] = (make_site, make_node, propose, merge, drift, heal, try_on_host, window, look_back)


def headline(step: Step) -> str:
    """What the tutorial calls a step."""
    return (step.__doc__ or "").splitlines()[0]


# --- parts ----------------------------------------------------------------------------------------------------------


def _require(fact: object, otherwise: str) -> None:
    if not fact:
        raise DayFailed(f"not as the tutorial says:\n{otherwise}")


def _review(day: Day, number: int, branch: str, base: str) -> None:
    """The merge request's pipeline, as a runner runs it: the site's own .gitlab-ci.yml, in a clone of its own."""
    runner = day.root / "runner"
    day.call("git", "clone", "--quiet", "--branch", branch, day.server.url("site.git"), str(runner))
    done = ci_local.run(
        runner,
        "review",
        {
            "CI_PROJECT_PATH": "cloud/site",
            "CI_SERVER_URL": day.forge.url,
            "CI_API_V4_URL": f"{day.forge.url}/api/v4",
            "CI_DEFAULT_BRANCH": "main",
            "RECONCILER_TOKEN": day.review_token,
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": str(number),
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        },
        day.environment()["PATH"],
    )
    if done.returncode:
        raise DayFailed(f"the review failed:\n{done.stdout}{done.stderr}")


def _alert(day: Day, payload: Mapping[str, Any]) -> list[str]:
    """An alert as GitLab's list and its page show it."""
    rows = [f"{payload['severity']}  {payload['title']}", "", *str(payload["description"]).splitlines()]
    return [day.stable.text(row) for row in rows]
