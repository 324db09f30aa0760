//! `cargo proof vm`: boots Linux in QEMU and runs tests there, on a machine like those of users:
//! cgroups as systemd arranges them, in version 2 or 1, a shared `/`, root and an ordinary user.
//!
//! The kernel is Debian's. The disk is a RAM disk made on the spot (`image.rs`). `guest.sh` runs
//! inside, and its last line says how it ended.
//!
//! We do not boot systemd itself. Such a disk takes root, a mirror and minutes to make, and current
//! versions of systemd do not start with cgroup version 1. `.ci/systemd` shows that our arrangement
//! is the one that systemd makes.

mod image;

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use workshop::temp::TempDir;
use workshop::workspace::target;

use crate::programs::output;

/// The guest prints this last, before its exit code.
const ENDED: &str = "vm: exit ";

/// Boot Linux in QEMU and run tests there, as root and as a user
#[derive(clap::Args)]
pub struct Args {
    /// The version of cgroups in the VM
    #[arg(long, value_name = "VERSION", value_enum, default_value = "v2")]
    cgroups: Cgroups,
    /// The kernel, with all we need built in [default: the distribution's for clouds, downloaded]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Boot this root filesystem with its own /sbin/init instead
    #[arg(long, value_name = "DIR")]
    machine: Option<PathBuf>,
    /// Open a shell in the VM instead
    #[arg(long, conflicts_with = "filter")]
    shell: bool,
    /// Run only the cases whose names contain this
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Cgroups {
    V1,
    V2,
}

/// Downloads a kernel: the newest of Debian's for clouds, or of Ubuntu's for VMs, which has its modules
/// in a package of their own. Most of what we need is built in; the modules are for loop devices and
/// the firewall, each behind those that it needs. It is complete, or not there.
const FETCH: &str = r#"
set -e
needs() { apt-cache depends "$1" | sed -n "s/^ *Depends: \\($2-.*\\)/\\1/p" | head -n 1; }
package=$(needs linux-image-cloud-$(dpkg --print-architecture) linux-image)
[ -n "$package" ] || package=$(needs linux-image-virtual linux-image)
apt-get download "${package:?no package of a kernel}" $(needs "$package" linux-modules)
for file in *.deb; do
    dpkg -x "$file" .
done
mkdir modules
number=10
for name in loop libcrc32c nfnetlink nf_tables nf_socket_ipv4 nf_socket_ipv6 nft_socket; do
    file=$(find . -name "$name.ko*" | head -n 1)
    case $file in
    "") continue ;;
    *.xz) unpack="xz -d" ;;
    *.zst) unpack="zstd -d" ;;
    *) unpack=cat ;;
    esac
    $unpack < "$file" > "modules/$number-$name.ko"
    number=$((number + 1))
done
rm -rf ../modules
mv modules ..
mv boot/vmlinu* ../vmlinuz
"#;

/// Boots the VM, prints its output, and returns its exit code.
pub fn run(args: &Args) -> Result<ExitCode> {
    ensure!(!args.shell || std::io::stdin().is_terminal(), "--shell needs a terminal");
    let (qemu, package, machine, console) = match std::env::consts::ARCH {
        "x86_64" => ("qemu-system-x86_64", "qemu-system-x86", "q35", "ttyS0"),
        "aarch64" => ("qemu-system-aarch64", "qemu-system-arm", "virt", "ttyAMA0"),
        other => bail!("no VM for this architecture: {other}"),
    };
    output(Command::new(qemu).arg("--version"))
        .with_context(|| format!("no QEMU (sudo apt-get install {package} brings it)"))?;

    let cache = target().join("vm");
    fs::create_dir_all(&cache).with_context(|| format!("mkdir {}", cache.display()))?;
    let kernel = args.kernel.clone().unwrap_or(cache.join("vmlinuz"));
    let complete = kernel.exists() && cache.join("modules").exists();
    if args.kernel.is_none() && !complete {
        println!("vm: fetching a kernel");
        let place = TempDir::below(&cache, "kernel-")?;
        output(Command::new("sh").args(["-c", FETCH]).current_dir(place.path()))
            .context("download a kernel (--kernel takes one from a file)")?;
    }
    let image = image::make(&cache, args)?; // open until QEMU ends

    // QEMU must end when we end, for whatever reason.
    let mut vm = Command::new("setpriv");
    vm.args(["--pdeathsig", "KILL", qemu, "-machine", machine]);
    // pauth is an option on ARM. Emulating the real one takes half of all the time.
    vm.args(["-cpu", if machine == "virt" { "max,pauth-impdef=on" } else { "max" }]);
    // No KVM, because not every machine has it, and a boot takes only seconds without it.
    vm.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "3072"]);
    vm.args(["-nographic", "-no-reboot", "-nic", "none", "-kernel"]).arg(kernel);
    let append = format!("console={console} quiet loglevel=0 panic=-1 systemd.show_status=false");
    let initrd = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
    vm.args(["-initrd", &initrd, "-append", &append]);
    if args.shell {
        let ended = vm.status().context("start QEMU")?;
        ensure!(ended.success(), "QEMU failed: {ended}");
        return Ok(ExitCode::SUCCESS);
    }
    watch(vm)
}

/// Runs QEMU without a keyboard and prints what the guest prints.
fn watch(mut qemu: Command) -> Result<ExitCode> {
    let started = Instant::now();
    let mut qemu =
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start QEMU")?;
    let said = BufReader::new(qemu.stdout.take().context("no stdout")?);
    let (mut out, mut code) = (std::io::stdout(), None::<u8>);
    // The firmware's output, which clears the screen, matters only if the boot fails.
    let mut before_boot = Some(String::new());
    for line in said.split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("read from QEMU")?).into_owned();
        let line = line.trim_end_matches('\r');
        if line.ends_with("vm: booted") {
            before_boot = None;
            writeln!(out, "vm: booted in {:.1} s", started.elapsed().as_secs_f32())?;
        } else if let Some(number) = line.strip_prefix(ENDED) {
            code = number.parse().ok();
        } else if let Some(said) = &mut before_boot {
            *said += &format!("{line}\n");
        } else {
            writeln!(out, "{line}")?;
        }
    }
    let ended = qemu.wait().context("wait for QEMU")?;
    write!(out, "{}", before_boot.unwrap_or_default())?;
    ensure!(ended.success(), "QEMU failed: {ended}");
    let code = code.context("the VM ended without a result")?;
    writeln!(out, "vm: ended with {code} after {:.0} s", started.elapsed().as_secs_f32())?;
    Ok(ExitCode::from(code))
}
