# shellcheck shell=sh
# A throw-away second machine: a Debian root tree, a network namespace, an sshd that runs from
# that tree. Sourced after machine.sh by a script that runs as root.
#
# Both ends of its only wire are in namespaces of their own, so that its addresses cannot
# collide with any of this machine's; beside_second runs a program at our end.

# Documentation addresses (RFC 5737).
second_address=192.0.2.2
beside_address=192.0.2.1
second_name=isync-second-$$
beside_name=isync-beside-$$
second_process=

# Makes the root tree in $1/root from a base that is cached in $1.
second_create() {
    place=$1
    second_root=$place/root
    mkdir -p "$place"
    chmod 700 "$place"
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    base=$place/base-$suite.tar
    if ! [ -e "$base" ]; then
        say "making a Debian base tree ($suite, cached for the next time)"
        second_sources | mmdebstrap --quiet --variant=minbase --format=tar \
            --include=openssh-server "$suite" "$base.part" -
        mv "$base.part" "$base"
    fi
    rm -rf --one-file-system "$second_root"
    mkdir "$second_root"
    tar --extract --numeric-owner --xattrs --xattrs-include='*' --file "$base" --directory "$second_root"
    second_keys
}

# Prints this machine's package sources, so that both machines are of one kind.
second_sources() {
    if [ -s /etc/apt/sources.list ]; then
        cat /etc/apt/sources.list
    else
        cat /etc/apt/sources.list.d/debian.sources
    fi
}

# A host key and a login key that nothing else uses.
second_keys() {
    rm -f "$place/identity" "$place/identity.pub" "$second_root"/etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C demo -f "$place/identity"
    ssh-keygen -q -t ed25519 -N '' -C demo -f "$second_root/etc/ssh/ssh_host_ed25519_key"
    echo "$second_address $(cat "$second_root/etc/ssh/ssh_host_ed25519_key.pub")" >"$place/known_hosts"
    mkdir -p "$second_root/root/.ssh"
    chmod 700 "$second_root/root/.ssh"
    cp "$place/identity.pub" "$second_root/root/.ssh/authorized_keys"
}

# Starts its network and its sshd, and waits until it answers.
second_start() {
    ip netns add "$beside_name"
    ip netns add "$second_name"
    ip -netns "$beside_name" link add wire type veth peer name wire netns "$second_name"
    second_wire "$beside_name" "$beside_address"
    second_wire "$second_name" "$second_address"
    # Its own process numbers: when the first process ends, the kernel ends all the others.
    ip netns exec "$second_name" unshare --mount --pid --uts --fork --kill-child \
        sh scripts/lib/second-init "$second_root" >"$place/sshd.log" 2>&1 &
    second_process=$!
    tries=0
    until second_run true 2>/dev/null; do
        tries=$((tries + 1))
        if [ $tries = 50 ]; then
            cat "$place/sshd.log" >&2
            die "the second machine does not answer"
        fi
        sleep 0.2
    done
}

# Gives the end of the wire in namespace $1 the address $2.
second_wire() {
    ip -netns "$1" address add "$2/24" dev wire
    ip -netns "$1" link set wire up
    ip -netns "$1" link set lo up
}

# Runs a program of this machine where the second one can be reached.
beside_second() {
    ip netns exec "$beside_name" "$@"
}

# Runs a command on it.
second_run() {
    beside_second ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=5 \
        -o UserKnownHostsFile="$place/known_hosts" -i "$place/identity" "root@$second_address" "$1"
}

# Ends it and removes all of it but the cached base tree.
second_remove() {
    if [ -n "$second_process" ]; then
        kill -9 "$second_process" 2>/dev/null || true
        wait "$second_process" 2>/dev/null || true
    fi
    ip netns delete "$beside_name" 2>/dev/null || true
    ip netns delete "$second_name" 2>/dev/null || true
    if [ -n "${second_root-}" ]; then
        rm -rf --one-file-system "$second_root"
        rm -f "$place/identity" "$place/identity.pub" "$place/known_hosts" "$place/differences" "$place/base"*.part
    fi
}
