"""The operating system as everybody uses it: processes and their walls, files, HTTP to others."""
