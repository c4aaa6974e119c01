"""The comparison itself, without kolla-ansible: what counts as the same, what a difference says, what an explanation covers."""

import pytest

from tests.parity import __main__ as tool
from tests.parity import compare, meaning
from tests.parity.compare import WHOLE, Item, Reason, Side

SAME = {
    "oslo.conf": ("[a]\nx = yes\ny = 1\n", "[a]\nx = True\ny = 1\n"),
    "optional/config.json": (
        '{"command": "a", "config_files": [{"source": "/x", "dest": "/b", "optional": false}]}',
        '{"command": "a", "config_files": [{"source": "/x", "dest": "/b"}]}',
    ),
    "quoted.conf": (
        '<VirtualHost *:80>\n  ErrorLog "/a"\n  SSLEngine On\n</VirtualHost>',
        "<VirtualHost *:80>\n  ErrorLog /a\n  SSLEngine on\n</VirtualHost>",
    ),
    "nova.conf": (
        "[DEFAULT]\ndebug = False\ntransport_url = rabbit://a,\n  b\n[api]\nx=1\nx = 2\n",
        "# made by hand\n[api]\nx = 1\nx: 2\n\n[DEFAULT]\ntransport_url=rabbit://a, b\ndebug=false",
    ),
    "config.json": (
        '{"command": "a", "config_files": [{"source": "/x", "dest": "/b"}, {"source": "/y", "dest": "/c"}]}',
        '{"config_files": [{"dest": "/c", "source": "/y"}, {"dest": "/b", "source": "/x"}],\n "command": "a"}',
    ),
    "haproxy/services.d/a.cfg": (
        "frontend a_front\n    mode http\n    bind 10.0.0.1:80\nbackend a_back\n    server one 10.0.0.2:80 check  inter 2000\n",
        "backend a_back\n  server one 10.0.0.2:80 check inter 2000 # the first\n\nfrontend  a_front\n  bind 10.0.0.1:80\n  mode http\n",
    ),
    "haproxy/services.d/six.cfg": (
        "listen a\n  bind [fd00::1]:80 ssl crt /a\n  server one [fd00::2]:80 check",
        "listen a\n  bind fd00::1:80 ssl crt /a\n  server one fd00::2:80 check",
    ),
    "wsgi.conf": (
        "Listen 10.0.0.1:80\n<VirtualHost *:80>\n  ErrorLog /a\n  <Directory /b>\n Require all granted\n</Directory>\n</VirtualHost>",
        "<VirtualHost *:80>\n<Directory /b>\nRequire all   granted\n</Directory>\nErrorLog /a\n</VirtualHost>\nListen 10.0.0.1:80",
    ),
    "fluentd.conf": (
        "<source>\n  @type tail\n  tag one\n</source>\n<source>\n  @type tail\n  tag two\n</source>",
        "<source>\n  tag two\n  @type tail\n</source>\n<source>\n  @type tail\n  tag one\n</source>",
    ),
    "keepalived.conf": (
        "vrrp_script check {\n  interval 2\n}\nvrrp_instance v {\n  state BACKUP\n  virtual_ipaddress {\n 10.0.0.9 dev eth0\n }\n}",
        "vrrp_instance v {\nvirtual_ipaddress {\n10.0.0.9  dev eth0\n}\nstate BACKUP\n}\nvrrp_script check {\ninterval 2\n}\n",
    ),
    "prometheus.yml": (
        "scrape_configs:\n- job_name: a\n  x: [1]\n- job_name: b\n",
        "scrape_configs: [{job_name: b}, {x: [1], job_name: a}]",
    ),
    "logrotate.conf": (
        'weekly\n"/a/*.log"\n{\n  postrotate\n}\n"/b" {\n}\n',
        '"/b"\n{\n}\n"/a/*.log" {\npostrotate\n}\nweekly\n',
    ),
    "advanced.config": ("[\n  {kernel, [{a, {10, 0, 0, 1}}]}\n].", "[\n{kernel,[{a,{10,0,0,1}}]}\n]."),
    "cron/config.json": (
        '{"command": "a  b", "config_files": [{"source": "/x/d/", "dest": "/etc//d"}]}',
        '{"command": "a b", "config_files": [{"source": "/x/d", "dest": "/etc/d"}]}',
    ),
    "start.sh": ("#!/bin/bash\n\n# says why\nexec  a", "#!/bin/bash\nexec a\n"),
}


@pytest.mark.parametrize("path", SAME)
def test_what_means_the_same_has_the_same_keys(path: str) -> None:
    one, other = SAME[path]
    assert meaning.read(path, one) == meaning.read(path, other) != {}


@pytest.mark.parametrize(
    ("path", "text", "changed", "key"),
    [
        ("nova.conf", "[a]\nx = 1\nx = 2\n", "[a]\nx = 2\nx = 1\n", "a/x"),
        ("nova.conf", "[a]\nx =\n", "[a]\nx = \n y\n", "a/x"),
        ("nova.conf", "[a]\nx = yes\n", "[a]\nx = 1\n", "a/x"),
        (
            "one/config.json",
            '{"config_files": [{"dest": "/b"}]}',
            '{"config_files": [{"dest": "/b", "optional": true}]}',
            "config_files[/b]/optional",
        ),
        ("one.conf", '<A>\n L "%{x} \\"%r\\""\n</A>', '<A>\n L "%{x} \\"%s\\""\n</A>', "A/L"),
        ("a.cnf", "[mysqld]\nskip-log-bin\n", "[mysqld]\nskip-log-bin=1\n", "mysqld/skip-log-bin"),
        (
            "haproxy.cfg",
            "defaults\n timeout client 1m\n timeout server 1m\n",
            "defaults\n timeout client 2m\n timeout server 1m\n",
            "defaults/timeout client",
        ),
        (
            "haproxy.cfg",
            "backend b\n option httpchk\n option forwardfor\n",
            "backend b\n option httpchk GET /\n option forwardfor\n",
            "backend b/option httpchk",
        ),
        (
            "wsgi.conf",
            "<VirtualHost *>\nA 1\nA 2\n</VirtualHost>",
            "<VirtualHost *>\nA 2\nA 1\n</VirtualHost>",
            "VirtualHost */A",
        ),
        (
            "config.json",
            '{"permissions": [{"path": "/a", "recurse": true}]}',
            '{"permissions": [{"path": "/a", "recurse": false}]}',
            "permissions[/a]/recurse",
        ),
        ("a.yaml", "a: {b: yes}\n", "a: {b: 'yes'}\n", "a/b"),
        ("run.sh", "a\na\n", "a\n", meaning.PROGRAM),
        ("crontab", "a\na\n", "a\n", "a"),
    ],
)
def test_what_differs_is_said_by_its_key(path: str, text: str, changed: str, key: str) -> None:
    one, other = meaning.read(path, text), meaning.read(path, changed)
    assert one != other
    assert {name for name in {**one, **other} if one.get(name) != other.get(name)} == {key}


def test_a_broken_file_is_compared_by_its_lines() -> None:
    assert meaning.read("x.json", '{"a":\n 1') == {'{"a":': "1", "1": "1"}


def side(**things: dict[str, str]) -> Side:
    made = Side()
    for thing, keys in things.items():
        made.add("ctl", thing.replace("_", " ", 1), keys, "svc")
    return made


def test_every_verdict_is_given() -> None:
    their = side(file_a={"same": "1", "other": "1", "less": "1"}, file_theirs={"x": "1"})
    our = side(file_a={"same": "1", "other": "2", "more": "1"}, file_ours={"x": "1", "y": "2"})
    found = {(entry.item.thing, entry.item.key): entry.verdict for entry in compare.compare("s", their, our)}
    assert found == {
        ("file a", "same"): "equal",
        ("file a", "other"): "different",
        ("file a", "less"): "missing",
        ("file a", "more"): "extra",
        ("file theirs", WHOLE): "missing",
        ("file theirs", "x"): "missing",
        ("file ours", WHOLE): "extra",
        ("file ours", "x"): "extra",
        ("file ours", "y"): "extra",
    }
    text = compare.table(compare.compare("s", their, our))
    assert text.splitlines()[1].split() == ["svc", "1", "0", "1", "3", "4", "11.11%"]
    listed = "\n".join(compare.listing(compare.compare("s", their, our)))
    assert "different other  [ctl]\n            theirs: 1\n            ours:   2" in listed
    assert (
        listed.count("file ours") == 1 and "theirs: -\n            ours:   2" not in listed
    )  # what is alone is said once


def test_a_reason_covers_its_key_its_values_and_its_sites_and_nothing_else() -> None:
    their, our = side(file_a={"x": "1", "y.z": "1"}), side(file_a={"x": "2", "y.z": "2"})

    def verdict(key: str, reason: Reason, site: str = "one") -> str:
        return next(f.verdict for f in compare.compare(site, their, our, [reason]) if f.item.key == key)

    assert verdict("x", Reason("svc", "file *", "x", "ours", "because")) == "explained"
    assert verdict("y.z", Reason("svc", "file *", "y?z", "ours", "because")) == "different"
    assert verdict("x", Reason("svc", "file b", "x", "ours", "because")) == "different"
    assert verdict("x", Reason("svc", "file a", "x", "ours", "because", theirs="2")) == "different"
    assert verdict("x", Reason("svc", "file a", "x", "ours", "because", ours="2", sites=("one",))) == "explained"
    assert verdict("x", Reason("svc", "file a", "x", "ours", "because", sites=("two",))) == "different"


def test_a_reason_for_a_whole_thing_covers_what_only_one_side_has() -> None:
    reason = Reason("svc", "file a", WHOLE, "ours", "because")
    missing = compare.compare("s", side(file_a={"x": "1"}), side(), [reason])
    assert {entry.verdict for entry in missing} == {"explained"} and len(missing) == 2
    both = compare.compare("s", side(file_a={"x": "1"}), side(file_a={"x": "2"}), [reason])
    assert [entry.verdict for entry in both] == ["different"]


def test_a_reason_of_the_own_service_goes_before_a_general_one() -> None:
    general, own = Reason("all", "file *", "x", "ours", "because"), Reason("svc", "file a", "x", "ours", "because")
    (found,) = compare.compare("s", side(file_a={"x": "1"}), side(file_a={"x": "2"}), [general, own])
    assert found.reason == own


def test_a_reason_covers_its_releases_alone() -> None:
    reason = Reason("svc", "file a", "x", "ours", "because", releases=("2026.1",))
    found = {
        release: compare.compare("s", side(file_a={"x": "1"}), side(file_a={"x": "2"}), [reason], release)[0].verdict
        for release in ("2025.1", "2026.1")
    }
    assert found == {"2025.1": "different", "2026.1": "explained"}


@pytest.mark.parametrize(
    ("reason", "stale"),
    [
        ({}, ["of 2026.1"]),
        ({"releases": ("2025.1",)}, []),
        ({"releases": ("2026.1",)}, ["of 2026.1"]),
        ({"releases": ("2025.1",), "sites": ("one",)}, []),
        ({"releases": ("2025.1",), "sites": ("one", "two")}, ["at two"]),
        ({"sites": ("two",)}, ["of 2025.1", "of 2026.1", "at two"]),
        ({"key": "gone"}, ["of 2025.1", "of 2026.1"]),
    ],
)
def test_a_reason_has_something_to_explain_of_each_release_and_site_that_it_names(reason, stale) -> None:  # type: ignore[no-untyped-def]
    given = Reason(**{"service": "svc", "thing": "file a", "key": "x", "why": "ours", "reason": "because", **reason})
    same, other = side(file_a={"x": "1"}), side(file_a={"x": "2"})
    found = {
        ("one", "2025.1"): compare.compare("one", same, other, [given], "2025.1"),
        ("one", "2026.1"): compare.compare("one", same, same, [given], "2026.1"),
        ("two", "2025.1"): compare.compare("two", same, same, [given], "2025.1"),
    }
    assert list(compare.stale([given], found)) == [f"{given.text}: {text}" for text in stale]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("svc: [{thing: file a, key: '*', why: ours, reason: r}]", "which key"),
        ("svc: [{thing: file a, key: [x, '**'], why: ours, reason: r}]", "which key"),
        ("svc: [{thing: file a, why: ours, reason: r}]", "needs thing, key"),
        ("svc: [{thing: file a, key: x, why: bug, reason: r}]", "why is ours"),
        ("svc: [{thing: file a, key: x, why: ours, reason: r, files: all}]", "needs thing, key"),
        ("svc: [{thing: file a, key: x, why: ours, reason: r, releases: ['2025']}]", "releases: there is no 2025"),
        ("svc: [{thing: file a, key: x, why: ours, reason: r, sites: [aio, all]}]", "sites: there is no all"),
    ],
)
def test_a_reason_for_a_whole_file_or_without_words_is_refused(tmp_path, text: str, says: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "explained.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        compare.load_reasons(path, ["aio"])


def test_the_shipped_reasons_can_be_read() -> None:
    for reason in compare.load_reasons(tool.HERE / "explained.yml", tool.names()):
        assert len(reason.reason.split()) > 3, f"{reason.text}: say why"


def test_items_sort_by_host_thing_and_key() -> None:
    assert sorted([Item("b", "a", "a"), Item("a", "b", "a"), Item("a", "a", "b")])[0] == Item("a", "a", "b")


CALLS = {
    "container": {
        "action": "compare_container",
        "common_options": {"environment": {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"}},
        "name": "nova_ssh",
        "image": "r/nova-ssh:1",
        "volumes": ["/etc/kolla/nova-ssh/:/var/lib/kolla/config_files/:ro", "", "v:/data"],
        "environment": {"EMPTY": None},
        "privileged": "False",
        "healthcheck": {
            "test": ["CMD-SHELL", "x"],
            "interval": "30",
            "timeout": "30",
            "retries": "3",
            "start_period": "5",
        },
        "dimensions": {"ulimits": {"nofile": {"soft": 1, "hard": 2}}},
    }
}


def test_a_container_of_kollas_has_the_fields_that_its_module_would_ask_for() -> None:
    keys = compare._kolla_container(CALLS["container"])
    assert keys["environment/KOLLA_SERVICE_NAME"] == "nova-ssh" and keys["environment/EMPTY"] == ""
    assert keys["mount//var/lib/kolla/config_files"] == "/etc/kolla/nova-ssh ro" and keys["mount//data"] == "v rw"
    assert keys["privileged"] == "false" and keys["ulimit/nofile"] == "1 2" and keys["healthcheck/interval"] == "30"


@pytest.mark.parametrize(
    ("module", "args", "ids"),
    [
        ("mysql_user", {"name": "u", "host": "%", "password": "p", "priv": "a.*:ALL/b.c:SELECT,insert"},
         ["mariadb:user:u@%", "mariadb:grant:u@%:a.*", "mariadb:grant:u@%:b.c"]),
        ("openstack.cloud.endpoint", {"service": "s", "endpoint_interface": "public", "region": "R", "url": "u"},
         ["keystone:endpoint:s/public/R"]),
        ("openstack.cloud.endpoint", {"service": "s", "endpoint_interface": "public", "region": "R", "url": "u", "state": "absent"}, []),
        ("rabbitmq_user", {"user": "u", "password": "p", "vhost": "v", "configure_priv": ".*", "write_priv": ".*", "read_priv": ".*"},
         ["rabbitmq:user:u", "rabbitmq:vhost:v", "rabbitmq:permission:u@v"]),
        ("mysql_variables", {"variable": "x", "value": 1}, []),
    ],
)  # fmt: skip
def test_calls_of_the_toolbox_are_registrations(module: str, args: dict[str, object], ids: list[str]) -> None:
    assert [name for name, _ in compare._registered(module, args)] == ids
