"""From kolla-ansible: inputs of our own in the shapes that public configurations have."""
