"""The program as operators take it: a Debian package with the locked environment inside."""
