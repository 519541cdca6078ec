#!/bin/sh
# usage: etcd-service NAME start|stop|is_active
#
# Starts and stops the etcd members of this lab, each from its own environment file etcd-NAME.env.
# Written by `patronictl-etcd lab up`, which writes it again each time: changes to it don't last.
lab=@LAB@
etcd=@ETCD@

# etcd reads every ETCD_* variable there is; the caller's must not reach it.
[ -n "${LAB_CLEAN-}" ] || [ "$2" != start ] || exec env -i LAB_CLEAN=1 PATH="$PATH" /bin/sh "$0" "$@"

name=$1
env_file=$lab/etcd-$name.env
pid_file=$lab/pids/etcd-$name.pid
log=$lab/logs/etcd-$name.log

# Sets state and started (clock ticks after boot, field 22 of /proc/PID/stat) of process $1. The command
# name before them may contain anything, so cut after its last ")".
look() {
    state=Z started=
    [ -r "/proc/$1/stat" ] && read -r line 2>/dev/null <"/proc/$1/stat" || return 1
    # shellcheck disable=SC2086
    set -- ${line##*) }
    state=$1 started=${20}
}

# Is the process of the pid file there? A pid that was given to another process has another start time.
active() {
    [ -r "$pid_file" ] && read -r pid since <"$pid_file" || return 1
    look "$pid" && [ "$started" = "$since" ] && [ "$state" != Z ] && [ "$state" != X ]
}

start() {
    active && return 0
    [ -r "$env_file" ] || { echo "etcd-service: $env_file is missing" >&2; exit 1; }
    [ -x "$etcd" ] || { echo "etcd-service: $etcd is missing or can't be run" >&2; exit 1; }
    cd "$lab" || exit 1
    set -a
    # shellcheck disable=SC1090
    . "$env_file"
    set +a
    setsid "$etcd" </dev/null >>"$log" 2>&1 &
    look $! || { echo "etcd-service: $name ended at once, see $log" >&2; exit 1; }
    echo "$! $started" >"$pid_file"
}

stop() {
    active && kill "$pid" 2>/dev/null
    tries=0
    while active; do
        # About 30 s for an orderly end, then 5 s for the kernel.
        [ $tries -ne 2500 ] || kill -9 "$pid" 2>/dev/null
        [ $tries -lt 2900 ] || { echo "etcd-service: $name ($pid) does not end" >&2; exit 1; }
        tries=$((tries + 1))
        sleep 0.01
    done
    rm -f "$pid_file"
}

case $2 in
    start) start ;;
    stop) stop ;;
    is_active) active ;;
    *) echo "usage: $0 NAME start|stop|is_active" >&2; exit 2 ;;
esac
