"""A kolla-ansible configuration → a site, with a report in which every input ends exactly once.

    collect (reads) → inventory, ansible, vault (parse) → convert (decides, pure) → the site's texts and secrets, and the report

Nothing here writes: the verb does, through sops where a value is a secret.
"""
