//! Sends the agent to the shell that waits for it, and has it checked and started there.
//!
//! Knows nothing of what the agent says.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crc::{CRC_32_CKSUM, Crc, Table};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::clean::clean_text;
use super::super::error::{LinkLost, SshError};
use super::super::process::Process;
use super::{AgentImage, DeployError, NOISE_BYTES, NoiseError, START_LIMIT, TargetFacts};
use super::{skip_noise, why_not};

/// The checksum of POSIX `cksum`, but for the length at its end.
const CKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_CKSUM);
/// The name of the program in its directory.
const PROGRAM: &str = "instancesync";
/// LIMIT: how much is packed before it is looked whether anybody still waits.
const PACKED_AT_ONCE: usize = 256 * 1024;

/// The program for the way.
pub(super) struct Parcel {
    /// Checksum and size, as the target will find them: [`sum_up`].
    pub expected: String,
    /// What [`pack`] made of it, where it goes so.
    pub packed: Option<io::Result<Vec<u8>>>,
}

/// Returns checksum and size of the program, as `cksum` of the target will find them.
///
/// SSH protects the way; this notices what a full or broken file system made of it.
pub(super) fn sum_up(binary: &[u8]) -> String {
    let mut digest = CKSUM.digest();
    digest.update(binary);
    // POSIX: the length follows what it is the length of, without leading zeros.
    let length = (binary.len() as u64).to_le_bytes();
    let zeros = length.iter().rev().take_while(|byte| **byte == 0).count();
    digest.update(length.get(..length.len() - zeros).unwrap_or_default());
    format!("{} {}", digest.finalize(), binary.len())
}

/// Packs the program for `gzip -dc`; leaves off when that is in vain.
pub(super) fn pack(binary: &[u8], is_vain: &AtomicBool) -> io::Result<Vec<u8>> {
    let packed = Vec::with_capacity(binary.len() / 2);
    let mut encoder = GzEncoder::new(packed, Compression::fast());
    for part in binary.chunks(PACKED_AT_ONCE) {
        if is_vain.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        encoder.write_all(part)?;
    }
    encoder.finish()
}

/// Writes the program, has the target check what arrived and start it; returns bytes a second.
pub(super) fn send(
    process: Process,
    image: &AgentImage<'_>,
    (target, parcel, is_far): (&TargetFacts, Parcel, bool),
) -> Result<(Process, u64), DeployError> {
    let failed = |cause: String| DeployError::Upload {
        place: target.place.clone(),
        cause,
    };
    let Parcel { expected, packed } = parcel;
    let (payload, unpack) = match &packed {
        None => (image.binary, ""),
        Some(Ok(packed)) => (&packed[..], "| gzip -dc "),
        Some(Err(error)) => return Err(failed(format!("packing it: {error}"))),
    };
    let length = payload.len();
    let step = step(image, target, (length, unpack, &expected), is_far)?;
    let Process {
        mut input,
        mut output,
        end,
    } = process;
    let explain = |error: NoiseError| match error.loss() {
        Some(loss) => SshError::Lost(loss.clone()).into(),
        None => failed(why_not(&end, &error)),
    };
    let began = Instant::now();
    // A write that fails is explained by what the shell says and by how it ended.
    let written = input
        .write_all(step.as_bytes())
        .and_then(|()| input.write_all(payload))
        .and_then(|()| input.flush());
    if let Some(loss) = written.as_ref().err().and_then(LinkLost::find) {
        return Err(SshError::Lost(loss.clone()).into());
    }
    // What is still on its way, windows and queues full, goes at the rate of what went before.
    output.set_silence_limit(Some(START_LIMIT + 2 * began.elapsed()));
    skip_noise(&mut output, b"@sum@ ", NOISE_BYTES).map_err(explain)?;
    output.set_silence_limit(Some(START_LIMIT));
    let elapsed = began.elapsed().as_secs_f64().max(1e-6);
    let sum = skip_noise(&mut output, b" @end@\n", 100).map_err(explain)?;
    if sum != expected.as_bytes() {
        return Err(failed(format!(
            "what arrived has the checksum and size {}, not {expected}",
            clean_text(&sum)
        )));
    }
    let process = Process { input, output, end };
    Ok((process, (length as f64 / elapsed) as u64))
}

/// The line that the waiting shell carries out, standing in the private directory: the payload is what
/// follows it, of this length, to be unpacked, and then to have this checksum and size.
fn step(
    image: &AgentImage<'_>,
    target: &TargetFacts,
    (length, unpack, expected): (usize, &str, &str),
    is_far: bool,
) -> Result<String, DeployError> {
    let place = &target.place;
    let as_root = if target.uses_sudo { "sudo -n " } else { "" };
    let arguments = image.command_line(is_far)?;
    // `set -C` makes the redirection exclusive: nothing that is there is followed or reused. The
    // settings end with the parentheses: the agent has those of the login.
    Ok(format!(
        "( PATH=${{PATH:-/bin}}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; \
         umask 077; set -C; head -c {length} {unpack}>./{PROGRAM} && chmod 700 ./{PROGRAM} && \
         set -- $(cksum <./{PROGRAM}) && echo \"@sum@ $1 $2 @end@\" && \
         [ \"$1 $2\" = \"{expected}\" ] ) && \
         cd / && exec {as_root}{place}/{PROGRAM} agent {arguments}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_posix() {
        assert_eq!(sum_up(b""), "4294967295 0");
        assert_eq!(sum_up(b"123456789"), "930766865 9");
    }

    /// What the waiting shell does with the line and what follows it, in a directory of its own.
    fn carried_out((payload, unpack): (&[u8], &str), expected: &str) -> String {
        let place = tempfile::tempdir().unwrap();
        let image = AgentImage {
            binary: b"",
            id: "x",
            key_mark: "",
            arguments: &["two words", "$HOME"],
            far_arguments: &["far"],
            magic: b"",
            parents: &[],
        };
        let target = TargetFacts {
            machine: String::new(),
            user: String::new(),
            uid: 0,
            home: String::new(),
            uses_sudo: false,
            place: place.path().to_str().unwrap().to_owned(),
            has_gzip: true,
            has_left_key: false,
        };
        let line = step(&image, &target, (payload.len(), unpack, expected), true).unwrap();
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "IFS= read -r step && eval \"$step\"; echo failed"])
            .current_dir(place.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        input.write_all(line.as_bytes()).unwrap();
        input.write_all(payload).unwrap();
        // The shell does not wait for the end of its input.
        let output = shell.wait_with_output().unwrap();
        drop(input);
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_is_sent_is_checked_and_started_packed_or_not() {
        let program = b"#!/bin/sh\necho \"$@\"\n";
        let packed = pack(program, &AtomicBool::new(false)).unwrap();
        let (expected, wrong) = (sum_up(program), sum_up(b"another"));
        let sum = format!("@sum@ {expected} @end@\n");
        for payload in [(&program[..], ""), (&packed[..], "| gzip -dc ")] {
            let said = carried_out(payload, &expected);
            assert_eq!(said, format!("{sum}agent two words $HOME far\n"));
            let said = carried_out(payload, &wrong);
            assert_eq!(said, format!("{sum}failed\n"), "a wrong sum starts nothing");
        }
    }

    #[test]
    fn packing_in_vain_stops() {
        let error = pack(b"program", &AtomicBool::new(true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
