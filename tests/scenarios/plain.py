"""A small site of plain Docker containers: what any image can do, in seconds instead of minutes."""

from tests.support.lab import ADDRESS, HOST, SITE, VIP, Lab

PORT = 18441

SERVICE = """\
description: A page, a process beside it, and one that depends on both
enabled: "{{ enable_web }}"
groups: {web: []}
passwords: {web_password: {kind: random}}
containers:
  rt-web:
    group: web
    kolla: false
    image: "{{ web_image }}"
    command: "{{ web_command }}"
    environment: "{{ web_environment }}"
    dimensions: "{{ web_dimensions }}"
    volumes: "{{ ['rt-web-data:/data'] + web_volumes }}"
    stop_timeout: 1
    files:
      - name: www/index.html
        template: index.html.j2
        destination: /www/index.html
        mode: "0644"
      - name: web.conf
        template: web.conf.j2
        merge: ini
        overrides: [global.conf, web.conf, "web/{host}/web.conf"]
        destination: /etc/web.conf
        mode: "0644"
    healthcheck: {test: ["CMD-SHELL", "wget -q -O- http://@ADDRESS@:@PORT@/index.html | grep -q fine"], interval: 1, timeout: 2, retries: 2, start_period: 1}
    stability: 0.3
    start_timeout: 8
    log_files: [/data/web.log]
  rt-side:
    group: web
    kolla: false
    image: "{{ side_image }}"
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stability: 0.2
  rt-after:
    group: web
    kolla: false
    enabled: "{{ enable_after }}"
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    depends_on: [rt-web]
    stability: 0.2
checks:
  page: {enabled: "{{ enable_web }}", http: "http://@ADDRESS@:@PORT@/index.html", contains: "{{ web_expected }}", group: web}
"""

VARIABLES = """\
enable_web: {description: Whether anything runs., type: boolean, default: true}
enable_after: {description: Whether the dependent container runs., type: boolean, default: true}
web_text: {description: What the page says., type: string, default: fine}
web_expected: {description: What the check of the page looks for., type: string, default: ""}
web_image: {description: Image of the page., type: string, default: "reconciler-test/busybox:1"}
side_image: {description: Image of the process beside it., type: string, default: "reconciler-test/busybox:1"}
web_command:
  description: What serves the page.
  type: array
  default: [sh, -c, "echo serving > /data/web.log; trap 'exit 0' TERM; httpd -f -p @ADDRESS@:@PORT@ -h /www & wait $!"]
web_environment: {description: Environment of the page., type: object, default: {WEB_COLOUR: blue}}
web_dimensions: {description: Limits of the page., type: object, default: {}}
web_volumes: {description: More volumes of the page., type: array, default: []}
"""


def first(lab: Lab) -> None:
    """Write the whole site into the lab's work tree."""
    lab.write(
        {
            "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [web]\n",
            "globals.yml": f'node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {VIP}\nweb_text: "fine"\n',
            "reconciler.yml": f"name: {SITE}\n",
            "services/web/service.yml": _filled(SERVICE),
            "services/web/variables.yml": _filled(VARIABLES),
            "services/web/templates/index.html.j2": "<h1>{{ web_text }}</h1>\n",
            "services/web/templates/web.conf.j2": "[DEFAULT]\ncolour = blue\npassword = {{ web_password }}\n",
        }
    )
    lab.seal("web_password")


def _filled(text: str) -> str:
    return text.replace("@ADDRESS@", ADDRESS).replace("@PORT@", str(PORT))
