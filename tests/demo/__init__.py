"""`make demo`: a control plane of genuine Kolla containers on this machine, and a week of its life in two minutes."""
