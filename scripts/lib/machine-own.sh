# shellcheck shell=sh
# What makes a virtual machine this machine: name, ids, keys, network, and what the source has for
# the clone to have. Sourced by machine-image, whose variables and `inside` it uses.
# shellcheck disable=SC2154

# Gives the tree at $mounted all of it.
make_own() {
    echo "$name" >"$mounted/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >"$mounted/etc/hosts"
    tr -d - </proc/sys/kernel/random/uuid >"$mounted/etc/machine-id"
    rm -f "$mounted"/etc/ssh/ssh_host_*
    cp "$keys/host-$name" "$mounted/etc/ssh/ssh_host_ed25519_key"
    cp "$keys/host-$name.pub" "$mounted/etc/ssh/ssh_host_ed25519_key.pub"
    chmod 600 "$mounted/etc/ssh/ssh_host_ed25519_key"
    inside "echo root:secret-$name | chpasswd"
    mkdir -p "$mounted/root/.ssh"
    chmod 700 "$mounted/root/.ssh"
    cp "$keys/tester.pub" "$mounted/root/.ssh/authorized_keys"
    set_up_network
    [ "$cloud_init" = no ] || set_up_cloud_init
    for directory in etc home opt root srv usr var; do
        echo "$name" >"$mounted/$directory/marker"
    done
    "furnish_$name"
}

# Tells the chosen stack the address. The way to the rest of the world ends at the tester.
set_up_network() {
    case $stack in
    ifupdown)
        cat >"$mounted/etc/network/interfaces" <<END
auto lo
iface lo inet loopback
auto $wire
iface $wire inet static
    address $address/24
    gateway 192.0.2.254
END
        ;;
    networkd)
        cat >"$mounted/etc/systemd/network/10-wire.network" <<END
[Match]
Name=$wire
[Network]
Address=$address/24
Gateway=192.0.2.254
END
        inside 'systemctl --quiet enable systemd-networkd'
        ;;
    netplan)
        [ "$cloud_init" = no ] || return 0
        cat >"$mounted/etc/netplan/10-wire.yaml" <<END
network:
  version: 2
  renderer: networkd
  ethernets:
    $wire:
      addresses: [$address/24]
      routes: [{to: default, via: 192.0.2.254}]
END
        chmod 600 "$mounted/etc/netplan/10-wire.yaml"
        inside 'systemctl --quiet enable systemd-networkd'
        ;;
    networkmanager)
        file=$mounted/etc/NetworkManager/system-connections/wire.nmconnection
        cat >"$file" <<END
[connection]
id=wire
uuid=$(cat /proc/sys/kernel/random/uuid)
type=ethernet
interface-name=$wire
[ipv4]
method=manual
address1=$address/24,192.0.2.254
[ipv6]
method=link-local
END
        chmod 600 "$file"
        ;;
    esac
}

# A cloud that hands everything in by files. With netplan it brings the network, too.
set_up_cloud_init() {
    seed=$mounted/var/lib/cloud/seed/nocloud
    mkdir -p "$seed"
    printf 'instance-id: %s\nlocal-hostname: %s\n' "instance-of-$name" "$name" >"$seed/meta-data"
    printf '#cloud-config\nssh_deletekeys: false\ndisable_root: false\npreserve_hostname: false\n' >"$seed/user-data"
    echo 'datasource_list: [NoCloud, None]' >"$mounted/etc/cloud/cloud.cfg.d/90-seed.cfg"
    if [ "$stack" = netplan ]; then
        cat >"$seed/network-config" <<END
version: 2
ethernets:
  $wire:
    addresses: [$address/24]
    gateway4: 192.0.2.254
END
        inside 'systemctl --quiet enable systemd-networkd'
    else
        echo 'network: {config: disabled}' >"$mounted/etc/cloud/cloud.cfg.d/99-network.cfg"
    fi
}

add_user() {
    inside "useradd --create-home --shell /bin/bash $1; echo '$1:$2' | chpasswd
        echo 'a note of $1' >/home/$1/note; chown $1: /home/$1/note"
}

# Builds and installs a package with one program, which prints the package's name.
add_package() {
    inside "mkdir -p /var/tmp/p/DEBIAN /var/tmp/p/usr/bin
        printf 'Package: $1\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' \
            >/var/tmp/p/DEBIAN/control
        printf '#!/bin/sh\necho $1\n' >/var/tmp/p/usr/bin/$1
        chmod 755 /var/tmp/p/usr/bin/$1
        dpkg-deb --build /var/tmp/p /opt/$1.deb >/dev/null
        dpkg --install /opt/$1.deb >/dev/null
        rm -r /var/tmp/p"
}

# Makes a service of a shell command and enables it.
add_service() {
    cat >"$mounted/etc/systemd/system/$1.service" <<END
[Service]
ExecStart=/bin/sh -c '$2'
[Install]
WantedBy=multi-user.target
END
    inside "systemctl --quiet enable $1.service"
}

furnish_source() {
    add_user alice 'correct horse'
    add_package gift
    mkdir -p "$mounted/srv/beat" "$mounted/srv/data"
    add_service hello 'while :; do date >/srv/beat/now; sleep 1; done'
    head -c 4000000 /dev/urandom >"$mounted/srv/data/blob"
    ln "$mounted/srv/data/blob" "$mounted/srv/data/linked"
    cp "$keys/login" "$mounted/root/.ssh/id_ed25519"
    chmod 600 "$mounted/root/.ssh/id_ed25519"
    echo "192.0.2.2 $(cat "$keys/host-target.pub")" >"$mounted/root/.ssh/known_hosts"
}

furnish_target() {
    add_user bob 'battery staple'
    add_package remnant
    add_service remnant 'sleep infinity'
    mkdir -p "$mounted/srv/old"
    echo 'of nobody' >"$mounted/srv/old/file"
    cat "$keys/login.pub" >>"$mounted/root/.ssh/authorized_keys"
}
