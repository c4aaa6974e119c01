"""Incidents as an operator on call meets them, played on a control plane of genuine Kolla containers, with a clock."""
