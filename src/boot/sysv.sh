#!/bin/sh
# Made by instancesync around a switch, and removed by it.
# chkconfig: 2345 00 99
### BEGIN INIT INFO
# Provides:          instancesync-boot
# Required-Start:    $local_fs
# Required-Stop:
# Default-Start:     S
# Default-Stop:
# Short-Description: Repair or complete the switch to a cloned system
### END INIT INFO

case "$1" in
start)
	[ -x /.instancesync/instancesync ] || exit 0
	/.instancesync/instancesync boot
	(until /.instancesync/instancesync boot --watch; do sleep 10; done) </dev/null >/dev/null 2>&1 &
	;;
esac
exit 0
