// Julian Friedman's variant ("Build Your Own Container Using Less than 100 Lines of Go", InfoQ,
// 2016), rewritten: it uses pivot_root instead of chroot.
//
// It keeps the faults of the original, so do not fix them here. If the command fails, the exit code
// is always 1. The host's files stay visible in /oldrootfs. There is no /proc. PID 1 reaps nothing
// but the command. An empty directory is left in the root filesystem.
//
// One thing differs from the article. With its Cloneflags alone the mounts stay shared on a machine
// with systemd, and pivot_root fails ("invalid argument"). Unshareflags makes Go set them private.
//
// The root filesystem is $ROOTFS or `rootfs`, as in our steps:
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
