"""What a service may register, as JSON Schema: `registrations.mariadb` of service.yml. `make docs` puts it into the grammar."""

from typing import Final

from reconciler.registrations.schema import ENABLED, Schema, entries, flag, section, text, texts

_GRANT: Final = {
    "database": text("Its name, or *."),
    "table": text("Its table; default all."),
    "privileges": texts("SQL's words: ALL, SELECT …"),
    "grant_option": flag("Whether it may pass them on."),
}

GRAMMAR: Final[Schema] = section(
    "Databases and users.",
    {
        "databases": entries(
            "Databases.",
            "A database.",
            {
                "name": text("Its name."),
                "character_set": text("Its character set."),
                "collation": text("Its collation."),
                "enabled": ENABLED,
            },
        ),
        "existing": flag(
            "Whether somebody else makes all of it. Then nothing is registered here, and who goes between still knows of it (`registered_databases`)."
        ),
        "users": entries(
            "Users with what they may do.",
            "A user.",
            {
                "name": text("Its name."),
                "host": text("Where it comes from; default %."),
                "password": text("Its password."),
                "login": flag("Whether a check logs in with it where clients do; default true."),
                "enabled": ENABLED,
                "grants": entries(
                    "What it may do.", "Privileges on a database.", _GRANT, required=("database", "privileges")
                ),
            },
            required=("name", "password"),
        ),
    },
)
