"""`make demo-cloud`: a whole cloud of genuine Kolla containers on this machine, and what its users do with it."""
