"""From a repository to desired state: which commit counts, read and rendered in sealed children."""
