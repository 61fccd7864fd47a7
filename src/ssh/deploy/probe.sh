# Sent to `sh` on the target: says what the target is and finds a place for the agent.
# Answers KEY=VALUE lines between two marks, then takes one line with the next step and carries it
# out: it ends in the agent. Every command that could read has its own stdin, as this script is the
# stdin of the shell. The braces have all of it read before anything is done, so that the line and
# what follows it are left to `read`, which takes no byte too many. Where the program is installed
# there is no line to wait for: the shell becomes the agent at once.
{
exec 4>&1
# The inode of the place, the place, and what starts the agent in it, if that can be done at once.
found=$(
exec 3>&1 >&4 4>&-
LC_ALL=C
export LC_ALL
PATH=${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
name=@NAME@
needed_kib=@NEEDED_KIB@
expected='@EXPECTED@'

first_line() {
    printf '%s\n' "$1" | { IFS= read -r line; printf '%s' "$line"; }
}

# Leaves a private directory in which programs run, or says why there is none.
try_place() {
    dir=$1/$name
    case $1 in
    '' | [!/]* | *[!A-Za-z0-9/._@%+:,-]*) echo "tried=$1: not a plain path"; return 1 ;;
    esac
    [ -d "$1" ] || { echo "tried=$1: no such directory"; return 1; }
    if [ -h "$dir" ]; then
        echo "tried=$1: $name is a symbolic link there"
        return 1
    fi
    if [ -e "$dir" ]; then
        # The numeric owner is the third word of ls -n.
        set -- "$1" $(ls -ldn "$dir" 2>/dev/null)
        if [ ! -d "$dir" ] || [ "$4" != "$uid" ]; then
            echo "tried=$1: $name belongs to somebody else there"
            return 1
        fi
        rm -rf "$dir" 2>/dev/null
    fi
    if ! why=$(mkdir -m 700 "$dir" 2>&1); then
        echo "tried=$1: $(first_line "$why")"
        return 1
    fi
    free_kib=$(df -Pk "$dir" 2>/dev/null | { read -r head; read -r device size used free rest; echo "$free"; })
    case $free_kib in
    '' | *[!0-9]*) ;;
    *)
        if [ "$free_kib" -lt "$needed_kib" ]; then
            rm -rf "$dir"
            echo "full=$1: $free_kib KiB are free, $needed_kib KiB are needed"
            return 1
        fi
        ;;
    esac
    printf '#!/bin/sh\nexit 0\n' >"$dir/probe" 2>/dev/null && chmod 700 "$dir/probe"
    if ! why=$($as_root "$dir/probe" 2>&1 </dev/null); then
        rm -rf "$dir"
        echo "tried=$1: programs cannot be run there ($(first_line "${why:-no reason given}"))"
        return 1
    fi
    rm -f "$dir/probe"
    echo "place=$dir"
}

# Copies the program there if the same one, to the byte, is installed here already.
use_installed() {
    own=$(command -v instancesync)
    case $own in
    /*) ;;
    *) return ;;
    esac
    # Another version has another size.
    [ "$(wc -c <"$own" 2>/dev/null)" -eq "${expected#* }" ] 2>/dev/null || return
    cp "$own" "$dir/instancesync" 2>/dev/null </dev/null
    chmod 700 "$dir/instancesync" 2>/dev/null || return
    set -- $(cksum <"$dir/instancesync")
    if [ "$1 $2" = "$expected" ]; then
        echo "installed=yes"
        agent="$as_root $dir/instancesync"
    else
        rm -f "$dir/instancesync"
    fi
}

echo
echo "@BEGIN@"
missing=
for tool in chmod cksum head id ls mkdir rm uname; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
[ "$(printf ab | head -c 1 2>/dev/null)" = a ] || missing="$missing head(-c)"
echo "missing=$missing"
if [ "$(printf ab | gzip -c 2>/dev/null | gzip -dc 2>/dev/null)" = ab ]; then
    echo "gzip=yes"
fi
echo "system=$(uname -s 2>/dev/null)"
echo "machine=$(uname -m 2>/dev/null)"
uid=$(id -u 2>/dev/null)
echo "uid=$uid"
echo "user=$(id -un 2>/dev/null)"
echo "home=$HOME"
if grep -q '@KEY_MARK@' "$HOME/.ssh/authorized_keys" 2>/dev/null </dev/null; then
    echo "left-key=yes"
fi
as_root=
root=yes
if [ "$uid" != 0 ]; then
    as_root="sudo -n"
    sudo -n true </dev/null >/dev/null 2>&1 || root=no
fi
echo "root=$root"
if [ "$root" = yes ] && [ -z "$missing" ] && [ "$(uname -s)" = Linux ]; then
    for parent in @PARENTS@ "$HOME"; do
        if try_place "$parent"; then
            agent=
            use_installed
            echo "$(ls -di "$dir") $agent" >&3
            break
        fi
    done
fi
echo "@END@"
)
exec 4>&-
set -- $found
inode=$1
place=$2
[ $# -gt 2 ] && shift 2 && exec "$@" agent @ARGUMENTS@
# Where another run has made its own place by the same name meanwhile, this one is gone, and nothing
# can be put into it; nobody else gets its inode while a shell stands in it.
[ -n "$place" ] && cd "$place" && IFS= read -r step && eval "$step"
# Nothing was started.
set -- $(ls -di "$place" 2>/dev/null)
[ -n "$place" ] && [ "$1" = "$inode" ] && cd / && rm -rf "$place"
exit 1
}
