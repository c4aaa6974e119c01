"""What a service may register, as JSON Schema: `registrations.keystone` of service.yml. `make docs` puts it into the grammar."""

from typing import Any, Final

GRAMMAR: Final[dict[str, Any]] = {
    "description": "Services, endpoints, projects, users and roles.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "enabled": {"description": "Whether these are registered; default true.", "type": "boolean"},
        "region": {"description": "Region of the endpoints; default the site's.", "type": "string"},
        "services": {
            "description": "Services with their endpoints.",
            "type": "array",
            "items": {
                "description": "A service.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "type"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "type": {"description": "Its type.", "type": "string"},
                    "description": {"description": "Its description.", "type": "string"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                    "region": {"description": "Region of its endpoints.", "type": "string"},
                    "endpoints": {
                        "description": "URL by interface.",
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "internal": {"description": "Internal URL.", "type": "string"},
                            "public": {"description": "Public URL.", "type": "string"},
                            "admin": {"description": "Admin URL.", "type": "string"},
                        },
                    },
                },
            },
        },
        "domains": {
            "description": "Domains.",
            "type": "array",
            "items": {
                "description": "A domain.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "description": {"description": "Its description.", "type": "string"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                },
            },
        },
        "projects": {
            "description": "Projects.",
            "type": "array",
            "items": {
                "description": "A project.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "domain": {"description": "Its domain; default default.", "type": "string"},
                    "description": {"description": "Its description.", "type": "string"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                },
            },
        },
        "users": {
            "description": "Users with their roles.",
            "type": "array",
            "items": {
                "description": "A user.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "password": {"description": "Its password.", "type": "string"},
                    "domain": {"description": "Its domain; default default.", "type": "string"},
                    "project": {"description": "The project of its roles.", "type": "string"},
                    "roles": {"description": "Its roles in that project.", "$ref": "#/$defs/texts"},
                    "domain_roles": {"description": "Its roles on its domain itself.", "$ref": "#/$defs/texts"},
                    "system_roles": {"description": "Its roles on the system.", "$ref": "#/$defs/texts"},
                    "email": {"description": "Its address.", "type": "string"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                },
            },
        },
        "assignments": {
            "description": "Roles of users that somebody else makes: withdrawn, they take the roles and leave the user.",
            "type": "array",
            "items": {
                "description": "Roles of one user.",
                "type": "object",
                "additionalProperties": False,
                "required": ["user"],
                "properties": {
                    "user": {"description": "The user's name.", "type": "string"},
                    "domain": {"description": "The user's domain; default default.", "type": "string"},
                    "project": {"description": "The project of the roles, in the user's domain.", "type": "string"},
                    "roles": {"description": "The roles in that project.", "$ref": "#/$defs/texts"},
                    "domain_roles": {"description": "The roles on the domain itself.", "$ref": "#/$defs/texts"},
                    "system_roles": {"description": "The roles on the system.", "$ref": "#/$defs/texts"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                },
            },
        },
        "roles": {
            "description": "Roles.",
            "type": "array",
            "items": {
                "description": "A role.",
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"description": "Its name.", "type": "string"},
                    "enabled": {"description": "Default true.", "type": "boolean"},
                },
            },
        },
    },
    "x-literal": True,
}
