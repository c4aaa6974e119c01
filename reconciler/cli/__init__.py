"""The verbs. The only place that prints and exits.

`main` finds a verb and turns errors into messages and exit codes; `output` prints for people (on a terminal), for pipes
and as JSON; `children` is what runs in a limited child process, because it reads what a stranger may have written.
"""
