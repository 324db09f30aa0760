#!/bin/sh
# What the VM does (see vm.rs). As PID 1: arranges the machine as systemd does, runs the tests,
# prints how they ended, and powers off.
set -eu
. /etc/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=${TERM:-linux}
/bin/busybox mkdir -p /sbin /proc /sys /dev /tmp /root /run /mnt /boot /usr/sbin
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666,mode=620 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
chmod 1777 /tmp
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
mount --make-rshared /
hostname vm
for module in /modules/*; do
    [ ! -e "$module" ] || insmod "$module" || :
done
echo vm: booted

# As after a login: a session, and beside it the user's own systemd. In version 2 that one is
# delegated to the user and has started something. It has no cpu controller, because systemd enables
# only what is requested.
slice=user.slice/user-1000.slice
session=$slice/session-1.scope
service=$slice/user@1000.service
delegated=$service/app.slice/run-1.scope
if [ "$cgroups" = v2 ]; then
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
    cd /sys/fs/cgroup
    mkdir -p init.scope system.slice "$session" "$delegated"
    echo 1 > init.scope/cgroup.procs
    echo +cpu +memory +pids > cgroup.subtree_control
    for dir in user.slice "$slice" "$service" "$service/app.slice"; do
        echo +memory +pids > "$dir/cgroup.subtree_control"
    done
    for dir in "$service" "$service/app.slice" "$delegated"; do
        chown 1000:1000 "$dir" "$dir/cgroup.procs" "$dir/cgroup.threads" "$dir/cgroup.subtree_control"
    done
else
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    cd /sys/fs/cgroup
    for tree in none,name=systemd cpu,cpuacct memory pids blkio devices net_cls,net_prio; do
        dir=${tree#*=}
        mkdir "$dir"
        if ! mount -t cgroup -o "$tree" cgroup "$dir"; then
            echo "vm: this kernel has no cgroups of version 1 for $dir. --kernel takes another kernel"
            echo "vm: exit 77"
            poweroff -f
        fi
        mkdir -p "$dir/init.scope" "$dir/$session"
        echo 1 > "$dir/init.scope/cgroup.procs"
    done
    ln -s net_cls,net_prio net_cls
fi

# Becomes a program as this user, in the session.
become() {
    for procs in $(find /sys/fs/cgroup -path "*/$session/cgroup.procs"); do
        sh -c "echo \$PPID > $procs"
    done
    user=$1
    shift
    exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
}

cd "$workspace"
export INSTA_WORKSPACE_ROOT="$workspace" CI=1 WORKSHOP_VM="$cgroups" PATH="$programs:$PATH"
if [ "$shell" = true ]; then
    (become 0 setsid --ctty sh -il < /dev/console > /dev/console 2>&1) || :
    poweroff -f
fi
# Both users write to these. (cargo may build outside the workspace.)
chown -R 1000:1000 "$workspace" "${programs%/*}"
status=0
while read -r user test cases; do
    [ "$user" = 0 ] && export NO_TEST_IGNORED=1
    printf '\n== %s as uid %s\n' "${test##*/}" "$user"
    (become "$user" "$test" $cases < /dev/null) || status=1
done < /etc/runs
echo "vm: exit $status"
poweroff -f
