// Julian Friedman's variant ("Build Your Own Container Using Less than 100 Lines of Go", InfoQ,
// 2016), written anew: not chroot but pivot_root.
//
// It has the faults of the original, and they are not to be mended here: the exit code is always 1
// if the command's was not 0, the host's files stay in sight in /oldrootfs, there is no /proc, PID 1
// reaps nobody but the command, and an empty directory is left in the root filesystem.
//
// One thing is not as in the article. With its Cloneflags alone the mounts stay shared on a machine
// with systemd, and pivot_root refuses ("invalid argument"). Unshareflags makes them private behind
// one's back.
//
// The root filesystem is $ROOTFS or `rootfs`. As in our steps:
//
//	go build -o pivot pivot.go && sudo ./pivot run /bin/sh
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// ANCHOR: main
func main() {
	switch os.Args[1] {
	case "run":
		parent()
	case "child":
		child()
	default:
		panic("usage: run COMMAND [ARGS]")
	}
}

// ANCHOR_END: main

// ANCHOR: parent
func parent() {
	cmd := exec.Command("/proc/self/exe", append([]string{"child"}, os.Args[2:]...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	wait(cmd)
}

// ANCHOR_END: parent

// ANCHOR: child
func child() {
	pivot(rootfs())
	wait(exec.Command(os.Args[2], os.Args[3:]...))
}

// ANCHOR_END: child

// ANCHOR: pivot
func pivot(rootfs string) {
	old := filepath.Join(rootfs, "oldrootfs")
	must(syscall.Mount(rootfs, rootfs, "", syscall.MS_BIND, ""))
	must(os.MkdirAll(old, 0700))
	must(syscall.PivotRoot(rootfs, old))
	must(os.Chdir("/"))
}

// ANCHOR_END: pivot

// ANCHOR: wait
func wait(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// ANCHOR_END: wait

// ANCHOR: must
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// ANCHOR_END: must

func rootfs() string {
	if dir := os.Getenv("ROOTFS"); dir != "" {
		return dir
	}
	return "rootfs"
}
