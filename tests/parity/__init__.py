"""kolla-ansible as the oracle: the same site rendered by it and by us, compared by meaning (`make parity`)."""
