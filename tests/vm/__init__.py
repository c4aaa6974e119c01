"""A Debian machine in software emulation: systemd as PID 1, a Docker Engine, kernel modules, `privileged`. Slow, and real."""
