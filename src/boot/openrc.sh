#!/sbin/openrc-run
# Made by instancesync around a switch, and removed by it.

description="Repair or complete the switch to a cloned system"

depend() {
	need localmount
	before hostname bootmisc net
}

start() {
	[ -x /.instancesync/instancesync ] || return 0
	/.instancesync/instancesync boot
	(until /.instancesync/instancesync boot --watch; do sleep 10; done) </dev/null >/dev/null 2>&1 &
	return 0
}
