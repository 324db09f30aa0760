/* The floor: what a container costs if you pay for nothing but the kernel.
 *
 * The system calls of the steps in plain C, linked statically. It does not start a second program
 * (the steps start themselves again, as one does in Go, and without `unsafe`). It has no options, no
 * explanations of errors, and it passes on no signals. A faster program does less.
 *
 *   floor plain ROOTFS COMMAND...   fork and exec, nothing else
 *   floor bare  ROOTFS COMMAND...   namespaces, pivot_root, /proc
 *   floor full  ROOTFS COMMAND...   also /dev, /sys, the walls in /proc, and cgroups, made below
 *                                   the directories $PIDS, $MEMORY and $CPU, or $CGROUP2
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char cgroups[3][512];

static void must(long result, const char *what) {
    if (result < 0) perror(what), exit(125);
}

static void put(const char *dir, const char *name, const char *value) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int file = open(path, O_WRONLY);
    if (file < 0 && strstr(name, "sw")) return; /* this kernel does not count swap */
    must(file, path), must(write(file, value, strlen(value)), path), close(file);
}

static const char *make(int n, const char *parent) {
    snprintf(cgroups[n], sizeof cgroups[n], "%s/floor-XXXXXX", parent);
    if (!mkdtemp(cgroups[n])) must(-1, cgroups[n]);
    return cgroups[n];
}

static void make_cgroups(void) {
    const char *both = getenv("CGROUP2");
    if (both) {
        make(0, both);
        put(cgroups[0], "pids.max", "20"), put(cgroups[0], "memory.max", "67108864");
        put(cgroups[0], "memory.swap.max", "0"), put(cgroups[0], "cpu.max", "50000");
        return;
    }
    put(make(0, getenv("PIDS")), "pids.max", "20");
    put(make(1, getenv("MEMORY")), "memory.limit_in_bytes", "67108864");
    put(cgroups[1], "memory.memsw.limit_in_bytes", "67108864");
    put(make(2, getenv("CPU")), "cpu.cfs_quota_us", "50000");
}

static void join_cgroups(void) {
    const char *file = getenv("CGROUP2") ? "cgroup.procs" : "tasks";
    for (int n = 0; n < 3 && *cgroups[n]; n++) put(cgroups[n], file, "0");
    must(unshare(CLONE_NEWCGROUP), "unshare CLONE_NEWCGROUP");
}

static void mount_on(const char *target, const char *source, const char *type, int flags) {
    must(mount(source, target, type, flags, NULL), target);
}

static void mount_the_usual(void) {
    const int inert = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    const char *devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
    const char *links[][2] = {{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"},
        {"fd/1", "/dev/stdout"}, {"fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"}};
    const char *walls[] = {"sys", "bus", "fs", "irq", "acpi", "scsi", "kcore", "keys", "sysrq-trigger"};
    mount_on("/dev", "tmpfs", "tmpfs", inert);
    mkdir("/dev/pts", 0755), mkdir("/dev/shm", 0755);
    mount_on("/dev/pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC);
    mount_on("/dev/shm", "tmpfs", "tmpfs", inert);
    for (int n = 0; n < 6; n++) {
        char here[32], there[32];
        snprintf(here, sizeof here, "/dev/%s", devices[n]);
        snprintf(there, sizeof there, "../dev/%s", devices[n]);
        close(open(here, O_WRONLY | O_CREAT, 0644));
        mount_on(here, there, NULL, MS_BIND);
        mount_on(here, NULL, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC);
    }
    for (int n = 0; n < 5; n++) must(symlink(links[n][0], links[n][1]), links[n][1]);
    for (int n = 0; n < 9; n++) {
        char path[32];
        struct stat wall;
        snprintf(path, sizeof path, "/proc/%s", walls[n]);
        if (stat(path, &wall) < 0) continue;
        mount_on(path, S_ISDIR(wall.st_mode) ? path : "/dev/null", NULL, MS_BIND);
        mount_on(path, NULL, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | inert);
    }
    mount_on("/sys", "sysfs", "sysfs", inert | MS_RDONLY);
}

static void change_root(const char *rootfs, int full) {
    must(unshare(CLONE_NEWNS), "unshare CLONE_NEWNS");
    mount_on("/", NULL, NULL, MS_PRIVATE | MS_REC);
    mount_on(rootfs, rootfs, NULL, MS_BIND | MS_REC);
    must(chdir(rootfs), "chdir");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    mount_on("/proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
    if (full) mount_the_usual();
    must(umount2(".", MNT_DETACH), "umount2");
}

static int wait_for(pid_t child) {
    int status = 0;
    must(waitpid(child, &status, 0), "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
    if (argc < 4) return fputs("floor plain|bare|full ROOTFS COMMAND...\n", stderr), 125;
    int walls = strcmp(argv[1], "plain") != 0, full = strcmp(argv[1], "full") == 0;
    if (walls) must(unshare(CLONE_NEWUTS | CLONE_NEWPID), "unshare");
    if (full) make_cgroups();
    pid_t init = fork();
    must(init, "fork");
    if (init == 0) {
        if (full) join_cgroups();
        if (walls) {
            must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
            change_root(argv[2], full);
            pid_t command = fork();
            must(command, "fork");
            if (command) return wait_for(command);
        }
        execvp(argv[3], argv + 3);
        perror(argv[3]), _exit(127);
    }
    int code = wait_for(init);
    for (int n = 0; n < 3 && *cgroups[n]; n++) must(rmdir(cgroups[n]), "rmdir");
    return code;
}
