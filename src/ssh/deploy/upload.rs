//! Sends the agent to the shell that waits for it, and has it checked and started there.
//!
//! Knows nothing of what the agent says.

use std::io::{self, Write};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::clean::clean_text;
use super::super::error::{LinkLost, SshError};
use super::super::process::Process;
use super::{AgentImage, DeployError, NOISE_BYTES, NoiseError, TargetFacts};
use super::{quote, skip_noise, why_not};

/// What is made of the program for the way, which takes a moment.
pub(super) struct Parcel {
    /// Checksum and size, as the target will find them.
    expected: String,
    /// The program packed for `gzip -dc`, where it goes so.
    packed: Option<io::Result<Vec<u8>>>,
}

impl Parcel {
    /// Sums the program up, and packs it too where `packs` says so.
    pub(super) fn make(binary: &[u8], packs: bool) -> Parcel {
        Parcel {
            expected: format!("{} {}", cksum(binary), binary.len()),
            packed: packs.then(|| pack(binary)),
        }
    }

    /// Has the program go as it is.
    pub(super) fn plain(self) -> Parcel {
        Parcel {
            packed: None,
            ..self
        }
    }
}

fn pack(binary: &[u8]) -> io::Result<Vec<u8>> {
    let packed = Vec::with_capacity(binary.len() / 2);
    let mut encoder = GzEncoder::new(packed, Compression::fast());
    encoder.write_all(binary)?;
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
    let packed = packed.transpose();
    let packed = packed.map_err(|error| failed(format!("packing it: {error}")))?;
    let mut arguments = image.arguments.to_vec();
    if is_far {
        arguments.extend(image.far_arguments);
    }
    let image = AgentImage {
        arguments: &arguments,
        ..*image
    };
    let step = step(&image, target, (&packed, &expected))?;
    let payload = packed.as_deref().unwrap_or(image.binary);
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
    skip_noise(&mut output, b"@sum@ ", NOISE_BYTES).map_err(explain)?;
    let elapsed = began.elapsed().as_secs_f64().max(1e-6);
    let sum = skip_noise(&mut output, b" @end@\n", 100).map_err(explain)?;
    if sum != expected.as_bytes() {
        return Err(failed(format!(
            "what arrived has the checksum and size {}, not {expected}",
            clean_text(&sum)
        )));
    }
    let process = Process { input, output, end };
    Ok((process, (payload.len() as f64 / elapsed) as u64))
}

/// The line that the waiting shell carries out: the program is what follows it.
fn step(
    image: &AgentImage<'_>,
    target: &TargetFacts,
    (packed, expected): (&Option<Vec<u8>>, &str),
) -> Result<String, DeployError> {
    let file = format!("{}/instancesync", target.place);
    let (length, unpack) = match packed {
        Some(packed) => (packed.len(), "| gzip -dc "),
        None => (image.binary.len(), ""),
    };
    let as_root = if target.uses_sudo { "sudo -n " } else { "" };
    // `set -C` makes the redirection exclusive: nothing that is there is followed or reused. The
    // settings end with the parentheses: the agent has those of the login.
    let mut line = format!(
        "( PATH=${{PATH:-/bin}}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; \
         umask 077; set -C; head -c {length} {unpack}>{file} && chmod 700 {file} && \
         set -- $(cksum <{file}) && echo \"@sum@ $1 $2 @end@\" && [ \"$1 $2\" = \"{expected}\" ] ) && \
         exec {as_root}{file} agent"
    );
    for argument in image.arguments {
        line.push(' ');
        line.push_str(&quote(argument)?);
    }
    line.push('\n');
    Ok(line)
}

/// The checksum of POSIX cksum: CRC-32 with polynomial 0x04C11DB7, then over the length.
///
/// SSH protects the way; this notices what a full or broken file system made of it.
fn cksum(data: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| {
            (0..8).fold(byte << 24, |crc, _| {
                (crc << 1)
                    ^ if crc & 0x8000_0000 != 0 {
                        0x04C1_1DB7
                    } else {
                        0
                    }
            })
        })
        .collect();
    let step = |crc: u32, byte: u8| {
        let index = (crc >> 24) as usize ^ usize::from(byte);
        (crc << 8) ^ table.get(index).copied().unwrap_or_default()
    };
    let mut crc = data.iter().fold(0, |crc, byte| step(crc, *byte));
    let mut length = data.len() as u64;
    while length > 0 {
        crc = step(crc, length.to_le_bytes()[0]);
        length >>= 8;
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cksum_is_the_one_of_posix() {
        assert_eq!(cksum(b""), 4294967295);
        assert_eq!(cksum(b"123456789"), 930766865);
    }

    /// What the waiting shell does with the line and what follows it, in a directory of its own.
    fn carried_out(binary: &[u8], packed: Option<Vec<u8>>, spoil: bool) -> String {
        let place = tempfile::tempdir().unwrap();
        let image = AgentImage {
            binary,
            id: "x",
            arguments: &["two words", "$HOME"],
            far_arguments: &[],
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
        };
        let expected = format!("{} {}", cksum(binary) ^ u32::from(spoil), binary.len());
        let line = step(&image, &target, (&packed, &expected)).unwrap();
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "IFS= read -r step && eval \"$step\"; echo failed"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        input.write_all(line.as_bytes()).unwrap();
        input
            .write_all(packed.as_deref().unwrap_or(binary))
            .unwrap();
        // The shell does not wait for the end of its input.
        let output = shell.wait_with_output().unwrap();
        drop(input);
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_is_sent_is_checked_and_started_packed_or_not() {
        let program = b"#!/bin/sh\necho \"$@\"\n";
        let sum = format!("@sum@ {} {} @end@\n", cksum(program), program.len());
        for packed in [None, Some(pack(program).unwrap())] {
            let said = carried_out(program, packed.clone(), false);
            assert_eq!(said, format!("{sum}agent two words $HOME\n"));
            let said = carried_out(program, packed, true);
            assert_eq!(said, format!("{sum}failed\n"), "a wrong sum starts nothing");
        }
    }
}
