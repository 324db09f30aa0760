//! The blocks of a page, pasted: into a shell at a terminal, all of a block at once, by a user whose
//! sudo asks for a password. It asks in the middle of a block, and what is then in the terminal is
//! lost; the history of the shell tells which lines it has read.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use workshop::command::on_the_host;
use workshop::machine::slowness;
use workshop::terminal::Terminal;

use super::blocks::{Group, as_a_reader, is_run};

const HISTORY: &str = "/tmp/history";

/// Makes the user, in a copy of `/etc`, and the file with which both shells start. The prompt says how
/// the last command has ended.
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
PS1='[exit $?] ' HISTFILE=/tmp/history HISTSIZE=99 SAVEHIST=99
if [ "$ZSH_VERSION" ]; then
    setopt prompt_subst inc_append_history
    unset zle_bracketed_paste
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
/// may write there all the same.
fn shell(name: &str) -> Command {
    let mut shell = Command::new("setpriv");
    shell.args("--reuid=4321 --regid=4321 --clear-groups".split(' '));
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
    screen.wait("prompt", |shown| prompt(shown).is_some())?;
    screen.terminal.keys(&group.outer.text)?;
    let mut last = "exit";
    for fence in group.inside.iter().filter(|fence| is_run(fence)) {
        screen.wait("shell inside", |shown| shown.ends_with("# ") || shown.ends_with("$ "))?;
        screen.terminal.keys(&fence.text)?;
        last = fence.text.trim_end().rsplit('\n').next().unwrap_or_default();
    }
    if !last.starts_with("exit") {
        screen.terminal.keys("exit\n")?;
    }
    let typed = plain(&group.outer.text);
    let all_read = |shown: &str| {
        let read = plain(&fs::read_to_string(HISTORY).unwrap_or_default());
        read == typed && prompt(shown).is_some()
    };
    screen.wait("end: the shell has not read all of it", all_read)?;
    let code = prompt(&screen.shown).context("no prompt")?;
    ensure!(code == 0 || group.outer.has("fails"), "exit code {code}:\n{}", screen.shown);
    // A sudo in the background that asks is stopped.
    let left = &screen.terminal.processes()[1..];
    ensure!(left.is_empty(), "it leaves {left:?}:\n{}", screen.shown);
    Ok(())
}

/// The exit code in a prompt of the shell, if that is the last thing on the screen.
fn prompt(shown: &str) -> Option<i32> {
    shown.trim_end().strip_suffix(']')?.rsplit_once("[exit ")?.1.parse().ok()
}

/// What is typed, without the ends of its lines, which each shell keeps in its own way.
fn plain(typed: &str) -> String {
    let words = typed.split_whitespace().map(|word| word.trim_end_matches('\\'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Screen {
    /// Waits for something, and types the password wherever it is asked for. At a prompt there is
    /// nothing to wait for.
    fn wait(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> Result<()> {
        let mut since = Instant::now();
        while !is_there(&self.shown) {
            let seen = self.terminal.seen()?;
            if !seen.is_empty() {
                since = Instant::now();
                self.shown += &seen;
            }
            if self.shown.ends_with("password for learner: ") {
                self.terminal.keys("secret\n")?;
                self.shown += "(typed)\n";
            }
            let limit = if prompt(&self.shown).is_some() { 2 } else { 20 };
            let waits = since.elapsed() < Duration::from_secs(limit) * slowness();
            ensure!(waits, "no {what}; it shows:\n{}", self.shown.replace('\r', ""));
        }
        Ok(())
    }
}
