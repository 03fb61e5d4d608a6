#!/bin/bash
# PID 1 of the outer machine: loads KVM, runs the test program from the second disk, powers off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys 2>/dev/null
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm /run
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
modprobe kvm-amd || echo 'not ok - the outer machine has no kvm-amd'
mount -o ro /dev/vdb /alcove
/alcove/node --no-warnings /alcove/dist/test/kvm/inside.js /alcove/artefacts /var/alcove 2>/run/errors || { echo "not ok - the program ended with $?"; tail -n 30 /run/errors; }
echo 'outer machine: done'
echo o >/proc/sysrq-trigger
sleep 60
