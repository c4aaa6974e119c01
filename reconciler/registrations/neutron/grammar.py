"""What a service may register, as JSON Schema: `registrations.neutron` of service.yml. `make docs` puts it into the grammar."""

from typing import Final

from reconciler.registrations.schema import ENABLED, Schema, entries, flag, section, text, texts, whole

_NAME: Final = text("Its name.")

GRAMMAR: Final[Schema] = section(
    "Networks, subnets and security groups, in the project of whom the registrar's `provides` names.",
    {
        "networks": entries(
            "Networks with their subnets. One that still has ports stays when it is withdrawn.",
            "A network.",
            {
                "name": _NAME,
                "network_type": text("How it is carried: vlan, vxlan, flat, local …; default what Neutron chooses."),
                "physical_network": text("The provider's network that carries it."),
                "segmentation_id": whole("The number of its VLAN or tunnel.", 1),
                "shared": flag("Whether every project may use it; default false."),
                "external": flag("Whether routers may lead to it; default false."),
                "enabled": ENABLED,
                "subnets": entries(
                    "Its subnets.",
                    "A subnet.",
                    {
                        "name": _NAME,
                        "cidr": text("Its addresses, such as 10.1.0.0/24."),
                        "dhcp": flag("Whether machines are told their addresses; default true."),
                        "gateway": text("The way out of it; without one there is none. It cannot be changed later."),
                        "enabled": ENABLED,
                    },
                    required=("name", "cidr"),
                ),
            },
        ),
        "security_groups": entries(
            "Security groups. What they let in is exactly their rules; what they let out is left as it is.",
            "A security group.",
            {
                "name": _NAME,
                "description": text("Its description."),
                "rules": texts(
                    "What is let in: `icmp`, `tcp 22`, `udp 5000-5010 from 10.0.0.0/8`, `any`; with `ipv6 ` before it for that."
                ),
                "enabled": ENABLED,
            },
        ),
    },
)
