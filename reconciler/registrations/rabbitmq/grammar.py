"""What a service may register, as JSON Schema: `registrations.rabbitmq` of service.yml. `make docs` puts it into the grammar."""

from typing import Any, Final

GRAMMAR: Final[dict[str, Any]] = {
    "description": "Virtual hosts, and users with their permissions.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "enabled": {"description": "Whether these are registered; default true.", "type": "boolean"},
        "vhosts": {
            "description": "Virtual hosts.",
            "type": "array",
            "items": {
                "description": "A virtual host.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                },
            },
        },
        "users": {
            "description": "Users with what they may do.",
            "type": "array",
            "items": {
                "description": "A user.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "password"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "password": {"description": "Its password.", "type": "string"},
                    "tags": {"description": "administrator, monitoring …", "$ref": "#/$defs/texts"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                    "permissions": {
                        "description": "What it may do.",
                        "type": "array",
                        "items": {
                            "description": "Permissions on a virtual host.",
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["vhost"],
                            "properties": {
                                "vhost": {"description": "Its name.", "type": "string"},
                                "configure": {"description": "Regular expression.", "type": "string"},
                                "write": {"description": "Regular expression.", "type": "string"},
                                "read": {"description": "Regular expression.", "type": "string"},
                            },
                        },
                    },
                },
            },
        },
    },
    "x-literal": True,
}
