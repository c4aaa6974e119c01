"""What a service may register, as JSON Schema: `registrations.rabbitmq` of service.yml. `make docs` puts it into the grammar."""

from typing import Final

from reconciler.registrations.schema import ENABLED, Schema, entries, section, text, texts

_PERMISSION: Final = {
    "vhost": text("Its name."),
    "configure": text("Regular expression."),
    "write": text("Regular expression."),
    "read": text("Regular expression."),
}

GRAMMAR: Final[Schema] = section(
    "Virtual hosts, and users with their permissions.",
    {
        "vhosts": entries("Virtual hosts.", "A virtual host.", {"name": text("Its name."), "enabled": ENABLED}),
        "users": entries(
            "Users with what they may do.",
            "A user.",
            {
                "name": text("Its name."),
                "password": text("Its password."),
                "tags": texts("administrator, monitoring …"),
                "enabled": ENABLED,
                "permissions": entries(
                    "What it may do.", "Permissions on a virtual host.", _PERMISSION, required=("vhost",)
                ),
            },
            required=("name", "password"),
        ),
    },
)
