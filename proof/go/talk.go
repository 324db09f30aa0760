// The program of Liz Rice's talk (Golang UK 2016), rewritten, to read beside our steps and to try
// with `cargo workshop check`.
//
// It keeps the faults that a program for the stage may have, so do not fix them here. It loses the
// exit code: if anything fails, Go panics and ends with 2. It looks PATH up on the host, before the
// chroot. PID 1 is the command's parent and reaps nothing but the command. Root can leave the
// chroot. /proc is mounted with the host's propagation and never unmounted. It ignores signals,
// open files and the environment.
//
// The root filesystem is $ROOTFS or `rootfs`, as in our steps:
//
//	go build -o talk talk.go && sudo ./talk run /bin/sh
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// ANCHOR: main
func main() {
	switch os.Args[1] {
	case "run":
		run()
	case "child":
		child()
	default:
		panic("usage: run COMMAND [ARGS]")
	}
}

// ANCHOR_END: main

// run before there is a child (steps 1 and 2).
// ANCHOR: run-first
func runFirst() {
	fmt.Printf("Running %v\n", os.Args[2:])

	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	must(cmd.Run())
}

// ANCHOR_END: run-first

// ANCHOR: run
func run() {
	again := append([]string{"child"}, os.Args[2:]...)
	cmd := exec.Command("/proc/self/exe", again...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = flags
	must(cmd.Run())
}

// ANCHOR_END: run

// The flags at each point of the talk. In step 2 runFirst uses them.
// ANCHOR: flags-uts
var flagsUTS = &syscall.SysProcAttr{
	Cloneflags: syscall.CLONE_NEWUTS,
}

// ANCHOR_END: flags-uts

// ANCHOR: flags-pid
var flagsPID = &syscall.SysProcAttr{
	Cloneflags: syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID,
}

// ANCHOR_END: flags-pid

// ANCHOR: flags-mount
var flags = &syscall.SysProcAttr{
	Cloneflags: syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
}

// ANCHOR_END: flags-mount

// ANCHOR: child
func child() {
	fmt.Printf("Running %v as pid: %d\n", os.Args[2:], os.Getpid())
	if os.Getenv("CGROUP") != "" {
		cgroup(os.Getenv("CGROUP"))
	}

	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr

	must(syscall.Chroot(rootfs()))
	must(os.Chdir("/"))
	must(syscall.Mount("proc", "proc", "proc", 0, ""))
	must(cmd.Run())
}

// ANCHOR_END: child

// In the talk, cgroups were only on the slides. This function is from the repository that followed
// the talk. There it is always called. Here it is called only if $CGROUP names a directory, because
// it leaves that directory behind. It panics with cgroup version 2, which has no separate tree for
// pids.
// ANCHOR: cgroup
func cgroup(name string) {
	dir := filepath.Join("/sys/fs/cgroup/pids", name)
	os.Mkdir(dir, 0755)
	write := func(file, value string) {
		must(os.WriteFile(filepath.Join(dir, file), []byte(value), 0700))
	}
	write("pids.max", "20")
	write("notify_on_release", "1")
	write("cgroup.procs", strconv.Itoa(os.Getpid()))
}

// ANCHOR_END: cgroup

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
