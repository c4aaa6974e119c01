"""Advice is followed: each row makes the problem, does what the message says, and the problem is gone.

What is not here: advice that asks an operator for a fact of the world (a machine's own name, which value is meant) is followed with
some value; advice about nodes, keys and forges is followed where those are tested.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.cli import children
from reconciler.source.prepare import shipped
from tests.support import certificates, sealed

BLANK = "haproxy_external_certificate"
GENERATED = {
    name: {"private_key": "private", "public_key": "public"} if declared["kind"] == "ssh_key" else name
    for name, declared in sorted(shipped().passwords().items())
    if declared["kind"] != "blank"
}
BASE = {
    "inventory.yml": "hosts:\n  aio: {addresses: {network: 192.0.2.11}, groups: [control, network]}\n"
    "  cmp1: {addresses: {network: 192.0.2.21}, groups: [compute]}\n",
    "globals.yml": "kolla_base_distro: debian\nkolla_internal_vip_address: 192.0.2.250\nenable_keepalived: false\n",
    "passwords.yml": sealed.text(GENERATED),
}
ROOT = certificates.root()
GLOBALS = BASE["globals.yml"]
Files = Mapping[str, str | None]  # None: no such file


@dataclass(frozen=True)
class Row:
    """`wrong` on top of the base makes a message that holds all of `says`; `done` on top of that is what it says to do."""

    wrong: Files
    says: tuple[str, ...]
    done: Files = field(default_factory=dict)


def own_names(name: str, more: str = "") -> str:
    return BASE["inventory.yml"].replace("  cmp1: {", f'  "{name}": {{{more}')


ROWS = {
    "a number for a text": Row(
        {"globals.yml": GLOBALS + "kolla_base_distro_version: 24.10\n"},
        ("must be a text", 'quote it: "24.10"'),
        {"globals.yml": GLOBALS + 'kolla_base_distro_version: "24.10"\n'},
    ),
    "a number beyond all bounds": Row(
        {"globals.yml": GLOBALS + "site_commit: 1e400\n"},
        ("quote it if it is text",),
        {"globals.yml": GLOBALS + 'site_commit: "1e400"\n'},
    ),
    "a service of Kolla's that is not here yet": Row(
        {"globals.yml": GLOBALS + "enable_zun: true\n"},
        ("'enable_zun'", "zun is not in the catalogue yet: remove it"),
        {"globals.yml": GLOBALS},
    ),
    "a variable of a service of Kolla's that is not here yet": Row(
        {"globals.yml": GLOBALS + "zun_api_port: 9517\n"},
        ("'zun_api_port'", "zun is not in the catalogue yet: remove it"),
        {"globals.yml": GLOBALS},
    ),
    "the same, brought as one's own": Row(
        {"globals.yml": GLOBALS + "enable_zun: true\n"},
        ("or bring it as a service of your own below services/",),
        {
            "services/zun/service.yml": "description: Containers\ngroups: {zun: [control]}\n",
            "services/zun/variables.yml": "enable_zun: {description: Whether., type: boolean, default: false}\n",
        },
    ),
    "a slip of the pen": Row(
        {"globals.yml": GLOBALS + "enable_keystne: true\n"},
        ("did you mean 'enable_keystone'?",),
        {"globals.yml": GLOBALS + "enable_keystone: true\n"},
    ),
    "a word of one's own": Row(
        {"globals.yml": GLOBALS + "completely_else: 1\n"},
        ("a variable of your own is called site_…",),
        {"globals.yml": GLOBALS + "site_completely_else: 1\n"},
    ),
    "an override that nothing reads": Row(
        {"config/keystone.cnf": "[a]\nb = 1\n"},
        ("did you mean config/keystone.conf?",),
        {"config/keystone.cnf": None, "config/keystone.conf": "[a]\nb = 1\n"},
    ),
    "an override behind a switch": Row(
        {
            "globals.yml": GLOBALS + "keystone_domain_specific_drivers_enabled: false\n",
            "config/keystone/domains/x.conf": "[identity]\n",
        },
        ("no host reads this file", "{{ keystone_domain_specific_drivers_enabled }} is true"),
        {"globals.yml": GLOBALS + "keystone_domain_specific_drivers_enabled: true\n"},
    ),
    "an override of a host that does not run the service": Row(
        {"config/keystone/cmp1/keystone.conf": "[a]\nb = 1\n"},
        ("cmp1 does not read this file", "it is read where keystone runs"),
        {"inventory.yml": BASE["inventory.yml"].replace("[compute]", "[compute, keystone]").replace(
            "[control, network]", "[control, network, keystone]")},
    ),
    "an authority without a certificate": Row(
        {"config/certificates/ca/root.crt": "the wrong file\n"},
        ("config/certificates/ca/root.crt", "no host reads this file"),
        # The node believes it itself, also where no container gets it.
        {"config/certificates/ca/root.crt": ROOT},
    ),
    "an authority that was not copied whole": Row(
        {"config/certificates/ca/root.crt": ROOT.rpartition("-----END")[0]},
        ("config/certificates/ca/root.crt", "the certificate that begins here cannot be read", "from its BEGIN to its END"),
        {"config/certificates/ca/root.crt": ROOT},
    ),
    "a general file behind a host's own": Row(
        {"config/haproxy/haproxy_main.cfg": "global\n", "config/haproxy/aio/haproxy_main.cfg": "global\n"},
        ("config/haproxy/haproxy_main.cfg", "where no override of its own goes before it"),
        {"config/haproxy/aio/haproxy_main.cfg": None},
    ),
    "a password that nothing generates": Row(
        {"globals.yml": GLOBALS + "kolla_enable_tls_external: true\n"},
        ("let `reconciler certificates` make one", f"write `{BLANK}: …` with `sops edit passwords.yml`"),
        {"passwords.yml": sealed.text({**GENERATED, BLANK: "pem"})},
    ),
    "a variable that has to be set": Row(
        {"globals.yml": GLOBALS.replace("kolla_internal_vip_address: 192.0.2.250\n", "")},
        ("globals.yml: the variable 'kolla_internal_vip_address' has no default and no value", "set it here"),
        {"globals.yml": GLOBALS},
    ),
    "a value in a type that only its spelling is of": Row(
        {"globals.yml": GLOBALS + "openstack_release: 2025.1\n"},
        ("must be a text", 'quote it: "2025.1"'),
        {"globals.yml": GLOBALS + 'openstack_release: "2025.1"\n'},
    ),
    "an image that is made of what is not known": Row(
        {"globals.yml": GLOBALS + "docker_registry: '{{ site_registry }}'\n"},
        ("globals.yml: the variable 'site_registry' is not defined",),
        {"globals.yml": GLOBALS + "docker_registry: '{{ site_registry }}'\nsite_registry: registry.example.org\n"},
    ),
    "a switch of files that is made of what is not known": Row(
        {"globals.yml": GLOBALS + "enable_cinder: '{{ site_volumes }}'\n"},
        ("globals.yml: the variable 'site_volumes' is not defined",),
        {"globals.yml": GLOBALS + "enable_cinder: '{{ site_volumes }}'\nsite_volumes: false\n"},
    ),
    "the address of the services is a controller's own": Row(
        {"globals.yml": GLOBALS.replace("192.0.2.250", "192.0.2.11").replace("enable_keepalived: false", "enable_keepalived: true")},
        ("192.0.2.11, is that of aio itself", "give kolla_internal_vip_address (kolla_external_vip_address) a free one"),
        {"globals.yml": GLOBALS.replace("enable_keepalived: false", "enable_keepalived: true")},
    ),
    "the same without load balancers": Row(
        {"globals.yml": GLOBALS.replace("192.0.2.250", "192.0.2.11").replace("enable_keepalived: false", "enable_keepalived: true")},
        ("or say enable_haproxy: no where services need no load balancer",),
        {"globals.yml": GLOBALS.replace("192.0.2.250", "192.0.2.11").replace("enable_keepalived: false", "enable_haproxy: no")},
    ),
    "what a template cannot do without": Row(
        {"globals.yml": GLOBALS + "enable_letsencrypt: true\nkolla_internal_fqdn: cloud.example.org\n"
                                  "letsencrypt_email: operators@example.org\n"},
        (": enable_letsencrypt asks for no certificate", "say letsencrypt_internal_cert_server"),
        {"globals.yml": GLOBALS + "enable_letsencrypt: true\nkolla_internal_fqdn: cloud.example.org\n"
                                  "letsencrypt_email: operators@example.org\n"
                                  "letsencrypt_internal_cert_server: https://acme.example.org/directory\n"},
    ),
    "a file that the site's own service wants": Row(
        {"services/own/service.yml": "description: Own\ngroups: {own: [control]}\ncontainers:\n  own:\n    group: own\n"
                                     "    image: r/own:1\n    command: run\n    files: [{name: x, overrides: [x.conf]}]\n"},
        ("services/own/service.yml: x has neither a template nor an override", "write config/x.conf, or set optional: true"),
        {"config/x.conf": "x\n"},
    ),
    "a file that the catalogue wants": Row(
        {
            "globals.yml": GLOBALS + "rabbitmq_enable_tls: true\n",
            "config/certificates/backend-key.pem": sealed.whole("backend"),
        },
        ("config/certificates/backend-cert.pem: is missing", "write it, or let `reconciler certificates` make it"),
        {"config/certificates/backend-cert.pem": ROOT},
    ),
    "a password that is generated": Row(
        {"passwords.yml": sealed.text({k: v for k, v in GENERATED.items() if k != "rabbitmq_cluster_cookie"})},
        ("'rabbitmq_cluster_cookie' is missing", "run `reconciler secrets generate`"),
        {"passwords.yml": BASE["passwords.yml"]},
    ),
    "passwords that are generated, of two hosts that need others": Row(
        {"passwords.yml": sealed.text({"keystone_admin_password": "a"})},
        ("passwords.yml: many secrets are missing", "run `reconciler secrets generate`", "of them: "),
        {"passwords.yml": BASE["passwords.yml"]},
    ),
    "a password of a service of Kolla's that is not here yet": Row(
        {"passwords.yml": sealed.text({**GENERATED, "aodh_database_password": "a"})},
        ("no service uses the password 'aodh_database_password'", "aodh is not in the catalogue yet: remove it"),
        {"passwords.yml": BASE["passwords.yml"]},
    ),
    "a key pair that is generated": Row(
        {"passwords.yml": sealed.text({k: v for k, v in GENERATED.items() if k != "keystone_ssh_key"})},
        ("'keystone_ssh_key' is missing", "run `reconciler secrets generate`"),
        {"passwords.yml": BASE["passwords.yml"]},
    ),
    "a host named by its address": Row(
        {"inventory.yml": own_names("192.0.2.21")},
        ("is an address", "facts: {hostname: …}"),
        {"inventory.yml": own_names("192.0.2.21", "facts: {hostname: cmp1}, ")},
    ),
    "two machines of one name": Row(
        {"inventory.yml": own_names("aio.example.org")},
        ("has the same own name, 'aio'", "facts: {hostname: …}"),
        {"inventory.yml": own_names("aio.example.org", "facts: {hostname: cmp1}, ")},
    ),
    "a character that cannot be seen": Row(
        {"config/keystone.conf": "\u200b[token]\n"}, ("U+200B", "remove it"), {"config/keystone.conf": "[token]\n"}
    ),
    "what ansible-vault encrypted": Row(
        {"config/keystone.conf": "$ANSIBLE_VAULT;1.1;AES256\n6233\n"},
        ("is encrypted with ansible-vault", "`ansible-vault decrypt` it"),
        {"config/keystone.conf": "[token]\n"},
    ),
    "passwords without what sops wrote": Row(
        {"passwords.yml": BASE["passwords.yml"].partition("\nsops:")[0] + "\n"},
        ("passwords.yml: has lost what sops wrote under `sops`", "restore it from the last good revision"),
        {"passwords.yml": BASE["passwords.yml"]},
    ),
    "a registry with its scheme": Row(
        {"globals.yml": GLOBALS + "docker_registry: https://registry.example.org\n"},
        ("globals.yml: must be a registry such as", "without https:// before it"),
        {"globals.yml": GLOBALS + "docker_registry: registry.example.org\n"},
    ),
    "a registry with a slash": Row(
        {"globals.yml": GLOBALS + "docker_registry: registry.example.org:5000/\n"},
        ("globals.yml: must be a registry such as", "without / at its end"),
        {"globals.yml": GLOBALS + "docker_registry: registry.example.org:5000/mirror\n"},
    ),
    "no namespace": Row(
        {"globals.yml": GLOBALS + "docker_namespace: ''\n"},
        ("globals.yml: must be a namespace such as openstack.kolla",),
        {"globals.yml": GLOBALS + "docker_namespace: openstack.kolla/2025\n"},
    ),
    "a web page": Row(
        {"config/keystone.conf": "<html></html>\n"},
        ("is a web page", "put the file itself here"),
        {"config/keystone.conf": "[token]\n"},
    ),
    "an unresolved merge": Row(
        {"globals.yml": GLOBALS + "<<<<<<< a\nsite_a: 1\n=======\nsite_a: 2\n>>>>>>> b\n"},
        ("choose one and remove <<<<<<<, ======= and >>>>>>>",),
        {"globals.yml": GLOBALS + "site_a: 1\n"},
    ),
    "a line without =": Row(
        {"config/keystone.conf": "[token]\nexpiration 3600\n"},
        ("a line has neither `=` nor `:`", "`key = value`"),
        {"config/keystone.conf": "[token]\nexpiration = 3600\n"},
    ),
    "a file of another format": Row(
        {"config/haproxy/services.d/x.cfg": "mode tcp\n"},
        ("no section (such as `listen NAME`) begins before it", "correct it"),
        {"config/haproxy/services.d/x.cfg": "listen x\n  mode tcp\n"},
    ),
    "an option of Jinja that does not exist": Row(
        {"config/keystone.conf": "#jinja2: lstrip_block: True\n[a]\n"},
        ("did you mean 'lstrip_blocks'?",),
        {"config/keystone.conf": "#jinja2: lstrip_blocks: True\n[a]\n"},
    ),
    "a full name as a machine's own": Row(
        {"inventory.yml": own_names("cmp1", "facts: {hostname: cmp1.example.org}, ")},
        ("such as ctl1, without a domain",),
        {"inventory.yml": own_names("cmp1", "facts: {hostname: cmp1}, ")},
    ),
}  # fmt: skip


def said(*changes: Files) -> list[str]:
    """What `validate` says of the base with changes on top, one line each."""
    whole: dict[str, str | None] = dict(BASE)
    for change in changes:
        whole.update(change)
    content = {path: text.encode() for path, text in whole.items() if text is not None}
    answer = children.validate({"all_hosts": False}, {"source": content})
    return [f"{found['file']}: {found['message']} ({found.get('hint', '')})" for found in answer["problems"]]


def test_the_base_has_nothing_to_say() -> None:
    assert said() == []


def test_a_group_of_a_service_that_is_not_here_yet_is_no_slip_of_the_pen() -> None:
    groups = "groups: {%s: {children: [control]}}\n"
    assert (
        "did you mean 'nova-conductor'?"
        in said({"inventory.yml": BASE["inventory.yml"] + groups % "nova-conducter"})[0]
    )
    assert said({"inventory.yml": BASE["inventory.yml"] + groups % "trove-conductor"}) == []


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_advice_helps(row: Row) -> None:
    before = said(row.wrong)
    assert len(before) == 1 and all(part in before[0] for part in row.says), before
    assert said(row.wrong, row.done) == []


def test_advice_about_lfs_helps(tmp_path: Path) -> None:
    """With the real git, and a filter that writes pointers as git-lfs does."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True).stdout

    git("init", "--quiet")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
    (tmp_path / ".git" / "pointer").write_text(pointer)
    git("config", "filter.lfs.clean", f"cat {tmp_path}/.git/pointer #")
    (tmp_path / ".gitattributes").write_text("*.conf filter=lfs -text\n")
    (tmp_path / "keystone.conf").write_text("[token]\n")
    git("add", ".")
    found = said({"config/keystone.conf": git("show", ":keystone.conf").decode()})
    assert len(found) == 1 and "take its path out of .gitattributes, then `git add --renormalize` it" in found[0]
    (tmp_path / ".gitattributes").write_text("")
    git("add", "--renormalize", ".")
    assert said({"config/keystone.conf": git("show", ":keystone.conf").decode()}) == []
