//! What serves a source well and is deadly on its clone, as commands for a shell of the source. Knows
//! nothing of the crate under test.

/// A unit that the source has and needs; it is started there already.
pub const ROUTE: &str = "
    printf '[Service]\\nType=oneshot\\nExecStart=ip route add blackhole 192.0.2.1/32\\n\
    [Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/route.service
    systemctl --quiet enable --now route.service";
/// A mount that its local file systems need, of a disk that only the source has.
pub const DISK: &str = "
    mkdir -p /srv/disk
    printf '[Mount]\\nWhat=/dev/disk/by-uuid/4a1d1c0e-0000-4000-8000-0123456789ab\\nWhere=/srv/disk\\n\
    Options=x-systemd.device-timeout=3s\\n[Install]\\nRequiredBy=local-fs.target\\n\
    ' >/etc/systemd/system/srv-disk.mount
    printf '[Unit]\\nJobTimeoutSec=3\\n' >/etc/systemd/system/'dev-disk-by\\x2duuid-\
    4a1d1c0e\\x2d0000\\x2d4000\\x2d8000\\x2d0123456789ab.device'
    systemctl --quiet enable srv-disk.mount";
