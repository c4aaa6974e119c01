"""What a service may register, as JSON Schema: `registrations.nova` of service.yml. `make docs` puts it into the grammar."""

from typing import Final

from reconciler.registrations.schema import ENABLED, Schema, entries, flag, section, text, whole

GRAMMAR: Final[Schema] = section(
    "Flavors.",
    {
        "flavors": entries(
            "Flavors. What one has cannot be changed: give a changed one another name.",
            "A flavor.",
            {
                "name": text("Its name."),
                "vcpus": whole("Processors of a machine.", 1),
                "ram": whole("Its memory, in MiB.", 1),
                "disk": whole("Its disk, in GiB; default 0."),
                "public": flag("Whether every project may use it; default true."),
                "enabled": ENABLED,
            },
            required=("name", "vcpus", "ram"),
        )
    },
)
