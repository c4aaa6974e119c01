"""A site that has one of everything, and renders without a problem: what is damaged reaches every part of the program."""

from tests.support import sealed

FULL = sealed.fill(r"""
-- inventory.yml --
hosts:
  ctl1:
    addresses: {network: 10.0.0.1, api: 10.0.1.1}
    interfaces: {network: eth0, api: eth1}
    groups: [control, web]
    facts: {processor_vcpus: 8, hostname: ctl1}
    variables: {site_own: 1}
  cmp1: {addresses: {network: 10.0.0.2}, groups: [rack1]}
groups:
  row1: {children: [rack1, rack2]}
  rack1: {}
  rack2: {hosts: [ctl1]}
-- globals.yml --
kolla_internal_vip_address: 10.0.0.250
enable_keystone: "no"
site_words: [a, b]
site_nested: {a: {b: ["{{ site_words[0] }}"]}}
site_number: "{{ site_words | length }}"
-- groups/rack1.yml --
openstack_service_workers: 3
-- hosts/cmp1.yml --
site_own: 2
-- reconciler.yml --
name: full
drift: {mode: heal, services: {web: report}, fields: {image: ignore}}
prune: {max: 3}
reporting: {mode: aggregate, threshold: 5}
windows: [{name: nights, days: [mon, tue], from: "22:00", to: "04:00", time_zone: Europe/Berlin}]
freezes: [{name: holidays, from: 2026-12-20, to: 2027-01-06}]
-- passwords.yml --
web_password: "ENC[1]"
web_pair: {private_key: "ENC[2]", public_key: "ENC[3]"}
keystone_admin_password: "ENC[4]"
sops: {}
-- config/web.conf --
[a]
b = {{ site_own }}
-- config/web/ctl1/web.conf --
[a]
c = {{ hostvars['cmp1']['site_own'] }}
-- config/web.yml --
a: {b: [1, 2]}
-- services/web/variables.yml --
web_image: {description: Image., type: string, default: "x:1", pattern: "^x"}
web_port: {description: Port., type: integer, minimum: 1, maximum: 65535, default: 80}
web_on: {description: On., type: boolean, default: "yes"}
web_names: {description: Names., type: array, items: {type: string}, uniqueItems: true, default: [a, "{{ web_image }}"]}
web_map:
  description: Map.
  type: object
  properties: {a: {type: [integer, "null"], default: 3}, t: {type: string, format: duration}}
  additionalProperties: {anyOf: [{type: string, format: ip}, {type: number}]}
  default: {a: 1, t: 30s, z: 10.0.0.9}
-- services/web/templates/a.j2 --
{% for f in frontends %}{{ f.name }} {{ f.port }} {% for m in f.members %}{{ m.address }}:{{ m.port }}{% endfor %}
{% endfor %}
{% for s in scrape_targets %}{{ s.name }}{{ s.labels | default({}) }}{% endfor %}
{% for l in log_inputs %}{{ l.paths | join(',') }}{% endfor %}
[a]
secret = {{ web_password }}
key = {{ web_pair.public_key | b64encode }}
hosts = {% for name in groups['web'] %}{{ hostvars[name].api_interface_address }},{% endfor %}
facts = {{ ansible_facts.processor_vcpus }}
names = {{ web_names | sort | to_json }}
nested = {{ site_nested.a.b }}
-- services/web/service.yml --
description: Web
enabled: "{{ web_on }}"
requires: [base]
groups: {web: [control]}
passwords:
  web_password: {kind: random, length: 32}
  web_pair: {kind: ssh_key}
containers:
  web:
    group: web
    image: "{{ web_image }}"
    command: "serve --port {{ web_port }}"
    environment: {A: 1, B: "{{ site_number }}", C: true}
    volumes: ["web_data:/data", "/srv:/srv:ro", "{{ '/opt:/opt' if web_on else '' }}"]
    dimensions: {mem_limit: 1g, cpu_period: 100000, cpu_quota: 50000, cpuset_cpus: "0", ulimits: {nofile: {soft: 1, hard: 2}}}
    healthcheck: {test: [CMD-SHELL, "true"], interval: 30, timeout: 30s, retries: 3, start_period: 5}
    tmpfs: ["/run:size=1m"]
    ports: []
    dns: [10.0.0.3]
    extra_hosts: {a: 10.0.0.1}
    cap_add: [NET_ADMIN]
    security_opt: []
    devices: []
    sysctls: {fs.mqueue.msg_max: 10}
    labels: {a: b}
    log_driver: json-file
    log_opts: {max-size: 50m}
    reload: {signal: HUP}
    rollback: auto
    stability: 3
    start_timeout: 60
    stop_timeout: 10
    shm_size: 64m
    group_add: ["1"]
    restart_policy: unless-stopped
    log_files: [/var/log/*.log]
    permissions: [{path: /data, owner: "a:b", perm: "0755", recurse: true}]
    files:
      - {name: web.conf, template: a.j2, destination: /etc/web.conf, merge: ini, overrides: [web.conf, "web/{host}/web.conf"], owner: web, perm: "0600"}
      - {name: web.yml, content: "a: 1\n", destination: /etc/web.yml, merge: yaml, overrides: [web.yml], optional: true, on_change: reload}
      - {name: plain, content: "{{ web_map }}", destination: /plain, verbatim: false, enabled: "{{ web_on }}"}
  helper:
    group: web
    image: x:2
    kolla: false
    command: [run, "{{ web_port }}"]
    depends_on: [web]
    hostname: "{{ inventory_hostname }}"
    user: "1000"
    files: [{name: h, content: x, destination: /h, mode: "0644", owner: "1000:1000"}]
jobs:
  sync: {container: web, command: sync, before: [helper], after: [], once: cluster, migration: true, timeout: 60, inputs: ["{{ web_port }}"], creates: "web_data:/x"}
registrations:
  mariadb: {databases: [{name: web}], users: [{name: web, password: "{{ web_password }}", grants: [{database: web, privileges: [ALL]}]}]}
provides:
  mariadb: {needs: [web], host: "{{ kolla_internal_vip_address }}", port: 3306, username: root, password: "{{ web_password }}"}
frontends:
  web: {mode: http, port: "{{ web_port }}", group: web, network: api, frontend_http_extra: ["option x"]}
  web_out: {enabled: "{{ web_on }}", mode: tcp, external: true, external_fqdn: web.example, port: 443, listen_port: 80, group: web, active_passive: true}
scrape:
  web: {port: 9100, group: web, path: /m, labels: {a: b}}
logs:
  web: {paths: [/var/log/web.log], format: x, tag: web}
checks:
  web: {http: "http://{{ api_interface_address }}:{{ web_port }}/", expect: [200], contains: ok, timeout: 5, group: web}
  port: {tcp: "10.0.0.1:80", group: web}
  inside: {command: {container: web, command: [test, -e, /x]}, group: web}
-- services/base/service.yml --
description: Base
""")
