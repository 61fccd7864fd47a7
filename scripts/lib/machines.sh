# shellcheck shell=sh
# Throw-away machines that boot: a Debian on a disk image each, wires into one switch. Sourced
# after machine.sh by a script that runs as root; base-image and boot-machine do the rest.
#
# Each machine is in a network namespace of its own, the switch as well, so that no address can
# collide with any of this machine's; beside_machines runs a program where the switch is.

machines_place=
machines_names=
machines_switch=isync-$$-switch

# Makes the network and the base disk, which is kept in directory $1 for the next time.
machines_begin() {
    machines_place=$1
    mkdir -p "$machines_place"
    chmod 700 "$machines_place"
    machines_base=$machines_place/base-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release).img
    if ! [ -e "$machines_base" ]; then
        say "making a small Debian (cached for the next time)"
        scripts/lib/base-image "$machines_base" 2G openssh-server,systemd-sysv,dbus,ifupdown,iproute2
    fi
    rm -f "$machines_place/identity" "$machines_place/identity.pub" "$machines_place/known_hosts"
    ssh-keygen -q -t ed25519 -N '' -C demo -f "$machines_place/identity"
    ip netns add "$machines_switch"
    # An address of its own: it would change with each port, and who had asked for it wait a minute.
    ip -netns "$machines_switch" link add bridge address 02:00:00:00:00:fe type bridge
    ip -netns "$machines_switch" address add 192.0.2.254/24 dev bridge
    ip -netns "$machines_switch" link set bridge up
}

# Makes the disk of machine $1 with address $2 and leaves it mounted at $machine_root, until
# machine_finish. It has its own name, ids, host key, root password and network.
machine_create() {
    machine_root=$machines_place/$1.mounted
    mkdir -p "$machine_root"
    cp --sparse=always "$machines_base" "$machines_place/$1.img"
    tune2fs -U random "$machines_place/$1.img" >/dev/null
    mount -o loop "$machines_place/$1.img" "$machine_root"
    ip netns add "isync-$$-$1"
    machines_names="$machines_names $1"
    echo "$1" >"$machine_root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$1" >"$machine_root/etc/hosts"
    tr -d - </proc/sys/kernel/random/uuid >"$machine_root/etc/machine-id"
    ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$machine_root/etc/ssh/ssh_host_ed25519_key"
    echo "$2 $(cat "$machine_root/etc/ssh/ssh_host_ed25519_key.pub")" >>"$machines_place/known_hosts"
    echo "root:secret of the $1" | chroot "$machine_root" chpasswd
    cat >"$machine_root/etc/network/interfaces" <<END
auto lo
iface lo inet loopback
auto wire
iface wire inet static
    address $2/24
END
    mkdir -p "$machine_root/root/.ssh"
    chmod 700 "$machine_root/root/.ssh"
    cp "$machines_place/identity.pub" "$machine_root/root/.ssh/authorized_keys"
}

# Ends what machine_create began.
machine_finish() {
    umount "$machine_root"
    machine_root=
}

# Switches machine $1 on, and on again whenever it reboots.
machine_start() {
    {
        code=133
        while [ "$code" = 133 ]; do
            code=0
            scripts/lib/boot-machine "$machines_place/$1.img" "isync-$$-$1" "$machines_switch" || code=$?
        done
    } >"$machines_place/$1.console" 2>&1 &
    echo $! >"$machines_place/$1.process"
}

# Waits until the machine with address $1 lets us in.
machine_wait() {
    tries=0
    until machine_run "$1" true 2>/dev/null; do
        tries=$((tries + 1))
        if [ $tries = 100 ]; then
            tail -n 40 "$machines_place"/*.console >&2
            die "the machine at $1 does not answer"
        fi
        sleep 0.3
    done
}

# Runs a program of this machine where the switch is.
beside_machines() {
    ip netns exec "$machines_switch" "$@"
}

# Runs a command on the machine with address $1, over its sshd.
machine_run() {
    beside_machines ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=3 \
        -o UserKnownHostsFile="$machines_place/known_hosts" -i "$machines_place/identity" "root@$1" "$2"
}

# Ends the machines and removes all of them but the base disk.
machines_end() {
    for name in $machines_names; do
        # The loop first, or it would take the end for a reboot; then what it had started.
        process=$(cat "$machines_place/$name.process" 2>/dev/null || echo)
        if [ -n "$process" ]; then
            running=$(cat "/proc/$process/task/$process/children" 2>/dev/null || echo)
            # shellcheck disable=SC2086
            kill -9 $process $running 2>/dev/null || true
            wait "$process" 2>/dev/null || true
        fi
        umount "$machines_place/$name.mounted" 2>/dev/null || true
        ip netns delete "isync-$$-$name" 2>/dev/null || true
        rm -rf --one-file-system "$machines_place/$name".*
        machine_remove_groups "isync-$$-$name"
    done
    ip netns delete "$machines_switch" 2>/dev/null || true
    if [ -n "$machines_place" ]; then
        rm -f "$machines_place/identity" "$machines_place/identity.pub" "$machines_place/known_hosts"
    fi
}

# Removes the control groups named $1, which are empty once the last process has gone.
machine_remove_groups() {
    tries=0
    for groups in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        while [ -d "$groups/$1" ] && [ $tries -lt 20 ]; do
            find "$groups/$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
            tries=$((tries + 1))
        done
    done
}
