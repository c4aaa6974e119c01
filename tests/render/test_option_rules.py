"""Options that the engine would refuse, or make something else of: refused with file and line, and what to write instead."""

import pytest

from reconciler.errors import SiteInvalid
from tests.render.sites import container, rendered

REFUSED = {
    "healthcheck: {test: x, interval: 0}": "interval of a health check must be between 1 ms and a day",
    "healthcheck: {test: x, timeout: 0}": "timeout of a health check must be between 1 ms and a day",
    "healthcheck: {test: x, retries: 0}": "retries of a health check must be 1 or more",
    "healthcheck: {test: [CMD]}": "the test of a health check needs a command",
    "entrypoint: []": "an empty entrypoint takes the image's command away as well",
    'entrypoint: [""]': "an empty entrypoint takes the image's command away as well",
    'environment: {"A=B": "1"}': "'A=B' cannot be the name of an environment variable",
    'environment: {"": "1"}': "'' cannot be the name of an environment variable",
    'volumes: ["/a:/b:ro,rw"]': "/a:/b has modes that contradict each other: ro,rw",
    'volumes: ["/a:/b:z,Z"]': "/a:/b has modes that contradict each other",
    'volumes: ["/a:/b:rd"]': "/a:/b has the unknown mode 'rd'",
    'volumes: ["./a:/b"]': "'./a' is neither an absolute path nor a volume's name",
    'volumes: ["a:/b"]': "'a' is neither an absolute path nor a volume's name",
    'volumes: ["/a:/"]': "nothing can be mounted at '/' in a container",
    "shm_size: 0": "shm_size 0 would be taken for the engine's default",
    "dimensions: {cpu_shares: 1}": "cpu_shares 1 is out of range",
    "dimensions: {blkio_weight: 5}": "blkio_weight 5 is out of range",
    "dimensions: {mem_limit: 1m}": "mem_limit 1048576 is less than the 6 MiB that the engine allows",
    "dimensions: {mem_limit: 64m, mem_reservation: 65m}": "mem_reservation is more than mem_limit",
    "dimensions: {memswap_limit: 64m}": "memswap_limit needs a mem_limit",
    "dimensions: {cpuset_cpus: 1-0}": "cpuset_cpus '1-0' is not a set",
    "dimensions: {ulimits: {nofile: {soft: 2, hard: 1}}}": "the soft limit nofile is above the hard one",
    "dimensions: {ulimits: {open: {soft: 1, hard: 1}}}": "there is no limit 'open'",
    "pids_limit: -2": "pids_limit -2 is out of range",
    "labels: {io.reconciler.owner: x}": "'io.reconciler.owner' cannot be a label of a site",
    "cap_add: [NET_ADMINISTRATOR]": "there is no capability 'NET_ADMINISTRATOR'",
    "security_opt: [seccomp=/etc/profile.json]": "seccomp profile '/etc/profile.json' cannot be read",
    "devices: [/dev/kvm:rwx]": "'/dev/kvm:rwx' is not a device",
    "stop_signal: SIGFOO": "'SIGFOO' is not a signal",
    "hostname: -x": "hostname '-x' is not a host name",
    "user: 'a b'": "'a b' is not a user",
    "working_dir: tmp": "working_dir 'tmp' is not absolute",
    "image: Example/App": "'Example/App' is not an image",
    "dns: [resolver]": "'resolver' is not an IP address",
    'extra_hosts: ["a:b"]': "a: 'b' is not an IP address",
    "sysctls: {net.core.somaxconn: 1}": "net.core.somaxconn belongs to a network namespace that is not the container's own",
    "sysctls: {vm.swappiness: 1}": "vm.swappiness is the whole host's",
    'ports: ["8080:80"]': "ports are not published in the host's network",
    'network_mode: bridge\n            ports: ["8080-8082:80-82"]': "'8080-8082:80-82' is not a published port",
    'network_mode: bridge\n            ports: ["::1:8080:80"]': "'::1:8080:80' is not a published port",
    'network_mode: bridge\n            ports: ["8080:80", "8080:81"]': "'8080:81' publishes a port that is published already",
    "network_mode: container:other\n            hostname: a": "hostname cannot be set in the network namespace of another",
    "tmpfs: [scratch]": "tmpfs 'scratch' is not an absolute path below /",
}  # fmt: skip


@pytest.mark.parametrize("option", REFUSED)
def test_it_is_refused(option: str) -> None:
    image = "" if option.startswith("image") else "            image: busybox\n"
    body = f"        containers:\n          app:\n            kolla: false\n{image}            {option}\n"
    with pytest.raises(SiteInvalid) as caught:
        rendered(body)
    found = [problem for problem in caught.value.problems if REFUSED[option] in problem.message]
    assert found, caught.value.problems
    assert found[0].file.endswith("app/service.yml") and found[0].line >= 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reconciler-aside-app", "a container's name cannot begin with reconciler-aside-"),
        ("reconciler-precheck-app", "a container's name cannot begin with reconciler-precheck-"),
    ],
)
def test_names_that_are_taken(name: str, said: str) -> None:
    with pytest.raises(SiteInvalid, match=said):
        rendered(f"        containers:\n          {name}: {{kolla: false, image: busybox}}\n")


def test_a_file_is_not_named_as_a_half_written_one() -> None:
    with pytest.raises(SiteInvalid, match="is how half-written files are named"):
        rendered("""
            containers:
              app:
                kolla: false
                image: busybox
                files: [{name: .x.reconciler-new, content: x, destination: /x}]
        """)


def test_spellings_that_are_one() -> None:
    made = container(
        rendered("""
            containers:
              app:
                kolla: false
                image: busybox
                command: [sleep, "1"]
                entrypoint: []
                network_mode: bridge
                restart_policy: on-failure:03
                ports: ["8080:80", "[::1]:8081:80/udp"]
                extra_hosts: ["a:10.0.0.1", "a:fd00::1", "b:host-gateway"]
        """),
        "app",
    )
    assert made.entrypoint == ()
    assert made.extra_hosts == {"a": "10.0.0.1 fd00::1", "b": "host-gateway"}
