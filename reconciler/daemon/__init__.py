"""The resident program: decides when a cycle runs, and nothing about what it does.

`service` is the main loop; `triggers` gathers the wishes for a pass; `turns` has those that come by themselves; `backoff`
spaces out what fails; `watch` looks at configuration files; `events` remembers what was done to containers; `notify` speaks
to systemd; `presence` lets one daemon run per node and the verbs find it.
"""
