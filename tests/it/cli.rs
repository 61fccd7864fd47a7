//! The command line as a person meets it: help, errors, exit codes, questions, generated
//! pages. Everything here ends before anything is copied.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_instancesync");

/// Returns the program in surroundings that are the same everywhere.
fn program(words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(words)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    program(words).output().unwrap()
}

/// Returns what a run printed, and its exit code.
fn screen(words: &[&str]) -> String {
    let output = run(words);
    format!(
        "$ instancesync {}\n{}{}exit code {}\n",
        words.join(" ").escape_debug(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap()
    )
}

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "more than 80 columns: {line}");
    }
}

fn help(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_fits(&text);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

#[test]
fn short_help_fits_a_screen() {
    insta::assert_snapshot!(help(&["-h"]));
}

/// docs/cli.md is the long help of every command, so that it can be read without the program.
fn manual() -> String {
    let mut text = String::from(
        "# Command line\n\n\
         Generated from the program; `UPDATE_DOCS=1 cargo test --test it cli` writes it anew.\n",
    );
    let commands = [
        ("instancesync", &["--help"][..]),
        ("instancesync facts", &["facts", "--help"]),
        ("instancesync plan", &["plan", "-h"]),
        ("instancesync explain", &["explain", "-h"]),
        ("instancesync profiles", &["profiles", "--help"]),
        (
            "instancesync cleanup amazon-ami",
            &["cleanup", "amazon-ami", "--help"],
        ),
        ("instancesync status", &["status", "--help"]),
        ("instancesync rollback", &["rollback", "--help"]),
        ("instancesync confirm", &["confirm", "--help"]),
        ("instancesync discard", &["discard", "--help"]),
        ("instancesync completions", &["completions", "--help"]),
        ("instancesync man", &["man", "--help"]),
    ];
    for (name, words) in commands {
        text.push_str(&format!("\n## {name}\n\n```text\n{}```\n", help(words)));
    }
    text
}

#[test]
fn docs_cli_md_is_the_help() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, manual()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == manual(),
        "docs/cli.md differs from --help; write it anew: UPDATE_DOCS=1 cargo test --test it cli"
    );
}

/// docs/events.md has a heading for every event that the program can print.
#[test]
fn docs_events_md_names_every_event() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("docs/events.md")).unwrap();
    for event in [
        "hello",
        "stage",
        "plan",
        "estimate",
        "pass_started",
        "progress",
        "item",
        "fix_up",
        "checked",
        "switched",
        "waiting",
        "verified",
        "problem",
        "notice",
        "pass_ended",
        "reconnecting",
        "error",
        "summary",
    ] {
        assert!(docs.contains(&format!("### `{event}`")), "{event}");
    }
}

#[test]
fn the_exit_codes_are_in_the_help() {
    let help = help(&["--help"]);
    for code in [0, 1, 2, 3, 4, 5, 10, 20, 23, 24, 25, 130] {
        let line = format!("  {code:<4} ");
        assert!(help.contains(&line), "{code}");
    }
}

#[test]
fn error_screens_say_what_and_what_to_do() {
    let long = format!("/nonexistent/{}", "long/".repeat(3));
    let screens = [
        &["--yes"][..],
        &[],
        &["--target", "root@h"],
        &["--target", "root@h/dir", "--yes"],
        &["--target", "h", "--target-dir", "srv", "--yes"],
        &["--target", "h", "--source", &long, "--yes"],
        &["--target", "h", "--source", "/proc/version", "--yes"],
        &["--target", "h", "--exclude", "a/../b", "--yes"],
        &["--target", "h", "--exclude-from", "/nonexistent", "--yes"],
        &["--target", "h", "--bwlimit", "1000", "--yes"],
        &["--target", "h", "--identity", "/nonexistent", "--yes"],
        &["--target", "h", "--password-file", "/nonexistent", "--yes"],
        &["--target", "h", "--host-key-fingerprint", "ab:cd", "--yes"],
        &["--target", "h", "--include-mount", "/proc/version", "--yes"],
        &["--target", "h", "--log-file", "/nonexistent/log", "--yes"],
        &["--target", "h\u{1b}[31m", "--yes"],
        &["--source", "/usr", "--to", "/usr", "--yes"],
        &["--source", "/usr/bin", "--to", "/usr", "--yes"],
        &["--max-delete", "3", "--target", "h"],
        &["--target", "h", "--to", "/d"],
        &["--frobnicate"],
    ];
    let text: Vec<_> = screens.iter().map(|words| screen(words)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn usage_errors_end_with_2_and_refusals_with_3() {
    let code = |words: &[&str]| run(words).status.code();
    assert_eq!(code(&["--frobnicate"]), Some(2));
    assert_eq!(code(&["--yes"]), Some(2));
    assert_eq!(code(&["--to", "/usr", "--source", "/usr", "-n"]), Some(3));
    assert_eq!(code(&["--version"]), Some(0));
}

#[test]
fn errors_are_events_too() {
    let output = run(&["--json", "--yes"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["hello", "error", "summary"]);
    assert_eq!(events[1]["exit"], 2);
    assert_eq!(events[2]["exit"], 2);
    assert!(events.iter().all(|event| event["v"] == 1));
    assert_eq!(events[2]["seq"], 3);
}

#[test]
fn the_log_file_is_private_and_has_the_error() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    run(&["--yes", "-q", "--log-file", file.to_str().unwrap()]);
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{text}");
    assert!(rest.starts_with("error: no target is given"), "{text}");
}

#[test]
fn the_password_is_never_told() {
    let output = program(&["--target", "h", "--source", "/nonexistent", "--yes", "-vv"])
        .env("INSTANCESYNC_PASSWORD", "open-sesame")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&text).contains("sesame"));
}

/// Runs the program on a terminal of its own. Each answer is typed once its question has been
/// shown; what is typed before may be lost when the terminal changes hands.
fn on_a_terminal(words: &str, talk: &[(&str, &str)]) -> (i32, String) {
    // A run that hangs is ended, with code 124.
    let mut child = Command::new("timeout")
        .args(["60", "script", "-qec"])
        .args([&format!("exec {PROGRAM} {words}"), "/dev/null"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = Vec::new();
    for (question, answer) in talk {
        if !read_until(&mut stdout, question, &mut text) {
            break; // The end of the text shows where it went wrong.
        }
        stdin.write_all(answer.as_bytes()).unwrap();
    }
    stdout.read_to_end(&mut text).unwrap();
    let status = child.wait().unwrap();
    (status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Reads until `question` has been shown after what `text` holds already.
fn read_until(stdout: &mut impl Read, question: &str, text: &mut Vec<u8>) -> bool {
    let start = text.len();
    let mut byte = [0];
    while stdout.read_exact(&mut byte).is_ok() {
        text.push(byte[0]);
        if text[start..].ends_with(question.as_bytes()) {
            return true;
        }
    }
    false
}

const WHICH_TARGET: &str = "Target ([USER@]HOST[:PORT]): ";
const WHICH_SOURCE: &str = "Source directory on this machine [/]: ";

#[test]
fn asks_on_a_terminal_and_takes_no_for_an_answer() {
    let talk = [
        (WHICH_TARGET, "root@h\n"),
        (WHICH_SOURCE, "/no/such\n"),
        (WHICH_SOURCE, "/usr\n"),
        ("Directory on the target [the same]: ", "\n"),
        ("Go ahead? [y/N] ", "maybe\n"),
        ("Please answer yes or no [y/N] ", "n\n"),
    ];
    let (code, text) = on_a_terminal("", &talk);
    assert_eq!(code, 3, "{text}");
    for part in [
        "That will not do: source /no/such: No such file or directory",
        "Source     this machine, /usr",
        "Target     root@h, /usr",
        "error: not confirmed; nothing was changed",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn end_of_input_is_no_answer() {
    let (code, text) = on_a_terminal(
        "--target root@h --source /usr",
        &[("Go ahead? [y/N] ", "\x04")],
    );
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("hint: pass --yes to go ahead"), "{text}");
}

#[test]
fn ctrl_c_ends_a_question() {
    let talk = [(WHICH_TARGET, "root@h\n"), (WHICH_SOURCE, "\x03")];
    let (code, text) = on_a_terminal("", &talk);
    assert_eq!(code, 130, "{text}");
    assert!(text.contains("error: stopped by Ctrl-C"), "{text}");
}

#[test]
fn with_yes_nothing_is_asked_on_a_terminal_either() {
    let (code, text) = on_a_terminal("--yes", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("with --yes nothing is asked"), "{text}");
}

#[test]
fn completions_know_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("accept-new-host-key"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn the_bash_completion_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("completion");
    std::fs::write(&file, run(&["completions", "bash"]).stdout).unwrap();
    let status = Command::new("bash").arg("-n").arg(file).status().unwrap();
    assert!(status.success());
}

#[test]
fn manual_pages_are_printed_and_written() {
    let page = String::from_utf8(run(&["man"]).stdout).unwrap();
    for part in [".TH instancesync 1", ".SH SYNOPSIS", "Exit status:"] {
        assert!(page.contains(part), "{part}");
    }
    let directory = tempfile::tempdir().unwrap();
    let output = run(&["man", "--output", directory.path().to_str().unwrap()]);
    assert!(output.status.success());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into())
        .collect();
    files.sort();
    for command in [
        "",
        "-facts",
        "-plan",
        "-explain",
        "-profiles-show",
        "-cleanup-amazon-ami",
    ] {
        let file = PathBuf::from(format!("instancesync{command}.1"));
        assert!(files.contains(&file), "{command}: {files:?}");
    }
    assert!(!files.contains(&PathBuf::from("instancesync-agent.1")));
    assert_eq!(
        run(&["man", "--output", "/nonexistent"]).status.code(),
        Some(1)
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let screens = [
        (&["--help"][..], 0),
        (&["completions", "zsh"], 0),
        (&["man"], 0),
        (&["--json", "--yes"], 2),
    ];
    for (words, code) in screens {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(words).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.is_empty(), code == 0, "{words:?}: {stderr}");
    }
}
