"""The host itself, outside of every container, as desired state: looked at, set, put back.

One module per kind of setting, behind one protocol (`protocol.py`), in one list (`machine.py`). Each kind has what counts now, and
where it can what counts after the next boot: `live` and `boot`. What may be asked for is the host's own policy (`node/policy.py`).
Files of our own hold what counts at boot, one for each kind; what others wrote elsewhere stays.
"""
