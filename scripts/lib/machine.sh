# shellcheck shell=sh
# What every script needs of the machine that it runs on: packages, cargo, a binary, a key.
# Sourced, not run; the caller stands in the top directory and has set -eu.

PATH=$PATH:/usr/sbin:/sbin

# Prints a line that stands out between the programs' own output.
say() {
    printf '== %s\n' "$*"
}

# Ends the script with one sentence of what is wrong.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Installs the packages whose programs (or files) are missing. Each argument is PROGRAM:PACKAGE.
install_packages() {
    missing=
    for pair in "$@"; do
        if ! [ -e "${pair%%:*}" ] && ! command -v "${pair%%:*}" >/dev/null; then
            missing="$missing ${pair#*:}"
        fi
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "please install:$missing"
    [ "$(id -u)" = 0 ] || die "please install as root: apt-get install$missing"
    say "installing$missing"
    # Word splitting makes one argument of each package.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing \
        >/dev/null || {
        apt-get -qq update
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing >/dev/null
    }
}

# Finds cargo, also where rustup puts it, or says how to get it.
need_cargo() {
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    export PATH
    command -v cargo >/dev/null ||
        die "cargo is missing: install Rust from https://rustup.rs (the distribution's may be too old)"
}

# Prints the path of the release binary.
release_binary() {
    printf '%s/target/%s/release/instancesync\n' "$PWD" "$(rustc -vV | sed -n 's/^host: //p')"
}

# Prints how many entries the file system of directory $1 has below it.
count_files() {
    find "$1" -xdev -printf . | wc -c
}

# Prints the sizes of the files below directory $1 in MiB, hard links once.
count_mib() {
    du --one-file-system --apparent-size --summarize --block-size=1M "$1" | cut -f 1
}
