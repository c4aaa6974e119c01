"""What a service may register, as JSON Schema: `registrations.keystone` of service.yml. `make docs` puts it into the grammar."""

from typing import Final

from reconciler.registrations.schema import ENABLED, Schema, entries, mapping, section, text, texts

_NAME: Final = text("Its name.")
_DESCRIPTION: Final = text("Its description.")
_DOMAIN: Final = text("Its domain; default default.")
_ENDPOINTS: Final = {
    "internal": text("Internal URL."),
    "public": text("Public URL."),
    "admin": text("Admin URL."),
}

GRAMMAR: Final[Schema] = section(
    "Services, endpoints, projects, users and roles; identity providers and their mappings.",
    {
        "region": text("Region of the endpoints; default the site's."),
        "services": entries(
            "Services with their endpoints.",
            "A service.",
            {
                "name": _NAME,
                "type": text("Its type."),
                "description": _DESCRIPTION,
                "enabled": ENABLED,
                "region": text("Region of its endpoints."),
                "endpoints": mapping("URL by interface.", _ENDPOINTS),
            },
            required=("name", "type"),
        ),
        "domains": entries("Domains.", "A domain.", {"name": _NAME, "description": _DESCRIPTION, "enabled": ENABLED}),
        "projects": entries(
            "Projects.",
            "A project.",
            {"name": _NAME, "domain": _DOMAIN, "description": _DESCRIPTION, "enabled": ENABLED},
        ),
        "users": entries(
            "Users with their roles.",
            "A user.",
            {
                "name": _NAME,
                "password": text("Its password."),
                "domain": _DOMAIN,
                "project": text("The project of its roles."),
                "roles": texts("Its roles in that project."),
                "domain_roles": texts("Its roles on its domain itself."),
                "system_roles": texts("Its roles on the system."),
                "email": text("Its address."),
                "enabled": ENABLED,
            },
        ),
        "assignments": entries(
            "Roles of users that somebody else makes: withdrawn, they take the roles and leave the user.",
            "Roles of one user.",
            {
                "user": text("The user's name."),
                "domain": text("The user's domain; default default."),
                "project": text("The project of the roles, in the user's domain."),
                "roles": texts("The roles in that project."),
                "domain_roles": texts("The roles on the domain itself."),
                "system_roles": texts("The roles on the system."),
                "enabled": ENABLED,
            },
            required=("user",),
        ),
        "roles": entries("Roles.", "A role.", {"name": _NAME, "enabled": ENABLED}),
        "mappings": entries(
            "How what an identity provider says of somebody becomes a user with roles.",
            "A mapping.",
            {
                "name": _NAME,
                "rules": {
                    "description": "Its rules, as Keystone has them: a list of objects with `local` and `remote`.",
                    "type": "array",
                    "items": {"type": "object"},
                },
                "enabled": ENABLED,
            },
            required=("name", "rules"),
        ),
        "identity_providers": entries(
            "Who else says who somebody is. Withdrawn, they take the accounts that came by them.",
            "An identity provider.",
            {
                "name": _NAME,
                "domain": text("The domain that its users get; default default. It cannot be changed."),
                "description": _DESCRIPTION,
                "remote_ids": texts("What it calls itself."),
                "protocols": entries(
                    "What it speaks.",
                    "A protocol.",
                    {
                        "name": text("openid, or saml2."),
                        "mapping": text("The mapping of what it says."),
                        "enabled": ENABLED,
                    },
                    required=("name", "mapping"),
                ),
                "enabled": ENABLED,
            },
        ),
    },
)
