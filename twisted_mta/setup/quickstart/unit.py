"""The systemd unit: a user without rights, the ports below 1024, and as little else as the system allows.

Left out on purpose: `mta check` before each start. The server refuses a wrong configuration itself, and a
warning is no reason to take no mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib")  # where systemd makes data directories
_HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
_UNIT = """\
# systemd unit of the mail server twisted_mta, as `mta quickstart` writes it. To start it, now and at each
# boot: systemctl enable --now {unit}

[Unit]
Description=Mail server twisted_mta
Documentation=file://{config}
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={programs}/twistd -n --pidfile= mta --config {config}
ExecReload={programs}/mta --config {config} reload
User={user}
{state}
Restart=on-failure
# Sessions and deliveries get up to half a minute to end.
TimeoutStopSec=40
LimitNOFILE=65536
UMask=0077
# The ports below 1024, and nothing else that is root's.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={homes}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """All paths are absolute. `programs`: the directory with `mta` and `twistd`. `path`: of the unit."""

    path: Path
    programs: Path
    config: Path
    data_dir: Path
    user: str

    def text(self) -> str:
        """Of the file."""
        if self.data_dir.parent == STATE:
            state = f"StateDirectory={self.data_dir.name}\nStateDirectoryMode=0700"
        else:
            state = f"ReadWritePaths={_word(self.data_dir)}"
        places = (self.programs, self.config, self.data_dir)
        hidden = any(place.is_relative_to(home) for place in places for home in _HOMES)
        return _UNIT.format(
            unit=self.path,
            config=_word(self.config),
            programs=_word(self.programs),
            user=self.user,
            state=state,
            homes="read-only" if hidden else "yes",
        )


def _word(path: Path) -> str:
    """As systemd reads it: % begins a specifier, spaces separate."""
    return str(path).replace("%", "%%").replace(" ", "\\x20")
