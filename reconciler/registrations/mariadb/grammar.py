"""What a service may register, as JSON Schema: `registrations.mariadb` of service.yml. `make docs` puts it into the grammar."""

from typing import Any, Final

GRAMMAR: Final[dict[str, Any]] = {
    "description": "Databases and users.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "enabled": {"description": "Whether these are registered; default true.", "type": "boolean"},
        "databases": {
            "description": "Databases.",
            "type": "array",
            "items": {
                "description": "A database.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "character_set": {"description": "Its character set.", "type": "string"},
                    "collation": {"description": "Its collation.", "type": "string"},
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
                    "host": {"description": "Where it comes from; default %.", "type": "string"},
                    "password": {"description": "Its password.", "type": "string"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                    "grants": {
                        "description": "What it may do.",
                        "type": "array",
                        "items": {
                            "description": "Privileges on a database.",
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["database", "privileges"],
                            "properties": {
                                "database": {"description": "Its name, or *.", "type": "string"},
                                "table": {"description": "Its table; default all.", "type": "string"},
                                "privileges": {"description": "SQL's words: ALL, SELECT …", "$ref": "#/$defs/texts"},
                                "grant_option": {"description": "Whether it may pass them on.", "type": "boolean"},
                            },
                        },
                    },
                },
            },
        },
    },
    "x-literal": True,
}
