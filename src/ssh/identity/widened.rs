//! One ECDSA key of 256 has a secret number that begins with a zero byte. OpenSSH writes it one byte
//! shorter, and the SSH library refuses what is shorter than 32 bytes; here it gets its zeros back.
//!
//! The format is `PROTOCOL.key` of OpenSSH. Knows nothing of what the key is for.

use data_encoding::BASE64;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// The only type whose secret number can be too short.
const KEY_TYPE: &[u8] = b"ecdsa-sha2-nistp256";
/// Bytes of its secret number.
const SECRET_LEN: usize = 32;
/// Padding to full blocks counts from 1; this is its block for keys that are not encrypted.
const BLOCK_LEN: usize = 8;

/// Returns the text of an unencrypted key with its secret number at full length; `None` for
/// anything else, or where nothing is missing.
pub(super) fn widened(text: &str) -> Option<Zeroizing<String>> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let bytes = Zeroizing::new(BASE64.decode(body.as_bytes()).ok()?);
    let rest = bytes.strip_prefix(MAGIC)?;
    let (cipher, rest) = string(rest)?;
    let (_kdf, rest) = string(rest)?;
    let (_options, rest) = string(rest)?;
    let (_public, private) = string(rest.get(4..)?)?;
    if cipher != b"none" {
        return None;
    }
    let head = bytes.get(..bytes.len() - private.len())?;
    let private = with_full_secret(string(private)?.0)?;
    let mut whole = Zeroizing::new(head.to_vec());
    push(&mut whole, &private);
    let lines = Zeroizing::new(BASE64.encode(&whole));
    Some(Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", *lines)))
}

/// Writes the private part anew: two equal numbers, type, curve, point, secret, comment, padding.
fn with_full_secret(private: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (key_type, rest) = string(private.get(8..)?)?;
    let (_curve, rest) = string(rest)?;
    let (_point, rest) = string(rest)?;
    let (secret, after) = string(rest)?;
    if key_type != KEY_TYPE || secret.len() >= SECRET_LEN {
        return None;
    }
    let (comment, _padding) = string(after)?;
    let mut full = Zeroizing::new([0; SECRET_LEN]);
    full[SECRET_LEN - secret.len()..].copy_from_slice(secret);
    let mut whole = Zeroizing::new(private.get(..private.len() - rest.len())?.to_vec());
    push(&mut whole, full.as_slice());
    push(&mut whole, comment);
    for byte in 1..=BLOCK_LEN as u8 {
        if whole.len().is_multiple_of(BLOCK_LEN) {
            break;
        }
        whole.push(byte);
    }
    Some(whole)
}

/// Splits off a string: four bytes of length, and so many bytes.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn push(bytes: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string);
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;

    use super::widened;

    /// Made by `ssh-keygen -t ecdsa` at the 45th try; it opens nothing.
    const SHORT: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS
1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQRy+19BBD4thve+G6uZQ1TRw927bKqr
z3oybj9BbI3uXyvOhOj6MQXznCev5FIftCH1joXZmfIAi3dlYueFfeUWAAAAoHDQadJw0G
nSAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHL7X0EEPi2G974b
q5lDVNHD3btsqqvPejJuP0Fsje5fK86E6PoxBfOcJ6/kUh+0IfWOhdmZ8gCLd2Vi54V95R
YAAAAfSOfy/6RgFJml4OgWZmn/j8i+d3EmNvyIwRhCrx6VEAAAAAVzaG9ydAECAwQ=
-----END OPENSSH PRIVATE KEY-----
";

    #[test]
    fn a_short_secret_gets_its_zeros_back() {
        assert!(PrivateKey::from_openssh(SHORT).is_err(), "needed no more");
        let key = PrivateKey::from_openssh(widened(SHORT).unwrap().as_str()).unwrap();
        assert_eq!(key.comment().to_string(), "short");
    }

    #[test]
    fn anything_else_is_left_alone() {
        let whole = widened(SHORT).unwrap();
        for text in ["", "hello", whole.as_str(), &SHORT[..200]] {
            assert!(widened(text).is_none(), "{text}");
        }
        for at in 0..SHORT.len() {
            let mut broken = SHORT.as_bytes().to_vec();
            broken[at] = b'A';
            // It must only not panic.
            drop(widened(&String::from_utf8(broken).unwrap()));
        }
    }
}
