//! The blocks of a page, pasted: into a shell at a terminal, all of a block at once, by a user whose
//! sudo asks for a password. It asks in the middle of a block, and what is then in the terminal is
//! lost; the history of the shell tells which lines it has read.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use workshop::command::on_the_host;
use workshop::machine::slowness;
use workshop::terminal::Terminal;

use super::blocks::{Group, as_a_reader, is_run};

const SECOND: Duration = Duration::from_secs(1);
const HISTORY: &str = "/tmp/history";

/// The prompt of the shell.
const READY: &str = "[ready] ";

/// Makes the user, in a copy of `/etc`, and the file with which both shells start: before each prompt,
/// they write down what they have read.
const MAKE_USER: &str = r#"
mkdir -p /tmp/etc /run/sudo
cp -a /etc/. /tmp/etc
mount --bind /tmp/etc /etc
mount -t tmpfs -o mode=711 tmpfs /run/sudo
echo 'learner:x:4321:4321::/tmp:/bin/sh' >> /etc/passwd
echo 'learner:*:20000::::::' >> /etc/shadow
echo learner:secret | chpasswd
rm -f /etc/sudoers
printf 'Defaults use_pty, !syslog, secure_path="%s"\nALL ALL = (ALL) ALL\n' \
    /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin > /etc/sudoers
cat > /tmp/.zshrc <<'END'
PS1='[ready] ' HISTFILE=/tmp/history HISTSIZE=99 SAVEHIST=99
if [ "$ZSH_VERSION" ]; then
    unset zle_bracketed_paste
    precmd() { fc -AI; }
else
    shopt -s lithist
    PROMPT_COMMAND='history -a'
fi
END
"#;

/// Makes the user, on a throw-away host whose `/tmp` is its own.
pub fn make_user() -> Result<()> {
    on_the_host(&format!("set -e\n{MAKE_USER}")).map(drop)
}

/// A shell of that user's. What is in the workspace, and in cargo's directories, belongs to root: it
/// may write there all the same. (Without that bit, access(2) says that it may not.)
fn shell(name: &str) -> Command {
    let mut shell = Command::new("setpriv");
    shell.args(["--reuid=4321", "--regid=4321", "--clear-groups", "--securebits=+no_setuid_fixup"]);
    shell.args(["--inh-caps=+dac_override,+fowner", "--ambient-caps=+dac_override,+fowner", name]);
    if name == "bash" {
        shell.args(["--noprofile", "--rcfile", "/tmp/.zshrc"]);
    }
    as_a_reader(shell.arg("-i")).env("ZDOTDIR", "/tmp").env("TERM", "dumb");
    shell
}

/// A terminal, and all that it has shown.
struct Screen {
    terminal: Terminal,
    shown: String,
}

/// Pastes a block, and those that are typed inside. Fails if the shell does not read all of it, or if
/// its last command fails that must not.
pub fn paste(shell_name: &str, group: &Group) -> Result<()> {
    // Sudo forgets the password, and the shell what others have typed.
    let _ = fs::remove_dir_all("/run/sudo/ts");
    let _ = fs::remove_file(HISTORY);
    let mut terminal = Terminal::before(&shell(shell_name))?;
    terminal.keys("\n")?;
    let mut screen = Screen { terminal, shown: String::new() };
    screen.wait("prompt", |shown| shown.ends_with(READY))?;
    screen.terminal.keys(&group.outer.text)?;
    for fence in group.inside.iter().filter(|fence| is_run(fence)) {
        screen.wait("shell inside", is_in_shell)?;
        screen.terminal.keys(&fence.text)?;
        screen.shown += "(pasted)";
    }
    let typed = plain(&group.outer.text);
    let all_read = |_: &str| plain(&fs::read_to_string(HISTORY).unwrap_or_default()) == typed;
    screen.wait("end: the shell has not read all of it", all_read)?;
    screen.terminal.keys("echo \"(ended: $?)\"\n")?;
    screen.wait("end", |shown| shown.contains("\n(ended: ") && shown.ends_with(READY))?;
    // Of a shell in a container, dash says that it cannot give the terminal back.
    let may_fail = group.outer.has("fails") || !group.inside.is_empty();
    let well = may_fail || screen.shown.contains("\n(ended: 0)");
    ensure!(well, "its last command fails:\n{}", screen.shown);
    // A sudo in the background that asks is stopped.
    let left = &screen.terminal.processes()[1..];
    ensure!(left.is_empty(), "it leaves {left:?}:\n{}", screen.shown);
    Ok(())
}

/// Is this the prompt of a shell that the block has opened? (Busybox then asks the terminal something.)
fn is_in_shell(shown: &str) -> bool {
    let shown = shown.trim_end_matches("\x1b[6n");
    shown.ends_with("# ") || shown.ends_with("$ ")
}

/// What is typed, without the ends of its lines, which each shell keeps in its own way.
fn plain(typed: &str) -> String {
    let words = typed.split_whitespace().map(|word| word.trim_end_matches('\\'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Screen {
    /// Waits for something, and types the password wherever it is asked for, and `exit` where the block
    /// has opened a shell and does not leave it.
    fn wait(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> Result<()> {
        let start = Instant::now();
        let mut since = start;
        while !is_there(&self.shown) {
            let seen = self.terminal.seen()?;
            if !seen.is_empty() {
                since = Instant::now();
                self.shown += &seen;
            }
            let waited = since.elapsed() / slowness();
            let answer = if self.shown.ends_with("password for learner: ") {
                "secret\n"
            } else if is_in_shell(&self.shown) && waited > SECOND {
                "exit\n"
            } else {
                // At a prompt, there is nothing to wait for.
                let limit = if self.shown.ends_with(READY) { 3 } else { 20 };
                let shown = self.shown.replace('\r', "");
                let is_time = waited < limit * SECOND && start.elapsed() < 60 * SECOND * slowness();
                ensure!(is_time, "no {what}; it shows:\n{shown}");
                continue;
            };
            self.terminal.keys(answer)?;
            self.shown += "(typed)";
        }
        Ok(())
    }
}
