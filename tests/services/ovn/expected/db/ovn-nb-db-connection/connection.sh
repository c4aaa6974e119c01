#!/bin/bash
# Port and probe of the databases, as the variables say. The one that leads has to be found: for a while after a start there is none.
for _ in {1..20}; do
  ovn-nbctl --timeout=5 --db=tcp:192.0.2.13:6641,tcp:192.0.2.11:6641 --inactivity-probe=60000 set-connection ptcp:6641:0.0.0.0 && exit 0
  sleep 2
done
echo "no database of tcp:192.0.2.13:6641,tcp:192.0.2.11:6641 leads: see cluster/status in the service's README" >&2
exit 1
