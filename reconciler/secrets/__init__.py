"""The site's secrets: the real sops, generating and rotating."""
