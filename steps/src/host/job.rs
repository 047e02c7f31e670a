//! What every detached job is, wherever it runs: a directory, and the shell script that claims it.
//!
//! A job is a directory below a job root. A small shell wrapper, started in its own session, claims the job by linking
//! `pid` (atomic, only the first wins), and only then starts the command: no `pid` means that the command was never
//! started (absent), wherever wiab or the wrapper died before. `log` holds both output streams. `exit` appears by rename
//! when the command has ended; a claimed job without `exit` is lost when no process of its session is left.

use super::{Cmd, HostError, Output};

/// The wrapper. Its parameters: the directory, the number of bytes on its input, the command. Nothing is interpolated.
/// The pid file names the process, its start and the boot, so that a reused number is not mistaken. The wrapper outlives
/// the signals that end the command, to note its exit code, and the end of whoever waits for `started`. It traps them
/// rather than ignoring them: a trap is not inherited, the command gets every signal's default.
pub(super) const WRAPPER: &str = r#"
trap : HUP INT TERM PIPE
d=$1; n=$2; shift 2
umask 022
in=$d/in.$$; me=$d/pid.$$
cat >"$in" || exit 1
[ "$(wc -c <"$in")" -eq "$n" ] || { rm -f "$in"; exit 1; }
field() { shift 19; printf %s "$1"; }
stat=$(cat /proc/$$/stat); start=$(field ${stat##*)})
printf '%s %s %s\n' "$$" "$start" "$(cat /proc/sys/kernel/random/boot_id)" >"$me" || exit 1
sync "$me"
if ! ln "$me" "$d/pid" 2>/dev/null; then rm -f "$me" "$in"; echo exists 2>/dev/null; exit 0; fi
rm -f "$me"; sync "$d"
: >"$d/log"; echo started 2>/dev/null
exec >>"$d/log" 2>&1
"$@" <"$in"
code=$?
printf '%s\n' "$code" >"$d/exit.$$" && sync "$d/exit.$$" && mv -f "$d/exit.$$" "$d/exit" && sync "$d"
rm -f "$in"
"#;

/// How long the wrapper may take to claim a job.
pub(super) const CLAIM_MS: u64 = 60_000;

/// The command that starts `cmd` as a job in the directory `dir`, which exists.
pub(super) fn wrapped(dir: &str, cmd: &Cmd) -> Cmd {
    let stdin = cmd.stdin.clone().unwrap_or_default();
    let length = stdin.len().to_string();
    let words = [
        "setsid", "--fork", "sh", "-c", WRAPPER, "wiab-job", dir, &length,
    ];
    let words = words.into_iter().map(str::to_owned);
    Cmd {
        argv: words.chain(cmd.argv.iter().cloned()).collect(),
        stdin: Some(stdin),
        env: cmd.env.clone(),
        root: cmd.root,
        timeout_ms: CLAIM_MS,
    }
}

/// What the wrapper said: whether the job was claimed, now or before.
pub(super) fn claimed(output: &Output) -> Result<(), HostError> {
    match output.text().trim() {
        "started" | "exists" => Ok(()),
        _ => Err(HostError::LostMidway {
            why: format!("the job did not start: {}", output.error_text()),
        }),
    }
}
