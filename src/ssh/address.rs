//! Where the target is: `[USER@]HOST[:PORT]` as a value.
//!
//! Knows nothing of the network: names are resolved in `connection`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The user who logs in where the address names none.
pub const DEFAULT_USER: &str = "root";
/// The port of SSH (RFC 4253, section 4).
pub const DEFAULT_PORT: u16 = 22;

/// The address of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Who logs in; `None` means [`DEFAULT_USER`].
    pub user: Option<String>,
    /// A name or an IP address, IPv6 without brackets. Never empty, never begins with `-`.
    pub host: String,
    /// The TCP port; `None` means [`DEFAULT_PORT`].
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing stands where the host belongs.
    #[error("address {0:?} names no host")]
    NoHost(String),
    /// An `@` without a user before it.
    #[error("address {0:?} has an empty user before the @")]
    NoUser(String),
    /// A dash, a space or a control character where none can be.
    #[error("address {0:?} has a host or user that begins with - or contains a blank")]
    Unsafe(String),
    /// The port is no number from 1 to 65535.
    #[error("address {text:?} has the port {port:?}, which is no number from 1 to 65535")]
    Port {
        /// The whole address.
        text: String,
        /// What stands after the colon.
        port: String,
    },
    /// Several colons, but no IPv6 address.
    #[error("address {0:?} has several colons but is no IPv6 address")]
    NotIpv6(String),
}

impl AddressError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some("write it as [USER@]HOST[:PORT], an IPv6 address with a port as [::1]:22".to_owned())
    }
}

impl Address {
    /// Returns who logs in.
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(DEFAULT_USER)
    }

    /// Returns the TCP port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The last @ counts, as in ssh: a directory user can be NAME@DOMAIN.
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let (host, port) = split_port(text, place)?;
        if host.is_empty() {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        if user == Some("") {
            return Err(AddressError::NoUser(text.to_owned()));
        }
        if is_unsafe(host) || user.is_some_and(is_unsafe) {
            return Err(AddressError::Unsafe(text.to_owned()));
        }
        Ok(Address {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: port.map(|port| parse_port(text, port)).transpose()?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(out, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(out, "[{}]", self.host)?;
        } else {
            out.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(out, ":{port}"),
            None => Ok(()),
        }
    }
}

fn split_port<'a>(text: &str, place: &'a str) -> Result<(&'a str, Option<&'a str>), AddressError> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let not_ipv6 = || AddressError::NotIpv6(text.to_owned());
        let (host, rest) = bracketed.split_once(']').ok_or_else(not_ipv6)?;
        if !is_ipv6(host) {
            return Err(not_ipv6());
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(not_ipv6()),
        };
    }
    match place.split_once(':') {
        None => Ok((place, None)),
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        Some(_) if is_ipv6(place) => Ok((place, None)),
        Some(_) => Err(AddressError::NotIpv6(text.to_owned())),
    }
}

/// Whether it is an IPv6 address, with or without a zone (`fe80::1%eth0`).
fn is_ipv6(host: &str) -> bool {
    let address = host
        .split_once('%')
        .map_or(host, |(address, _zone)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

fn is_unsafe(word: &str) -> bool {
    word.starts_with('-') || word.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn parse_port(text: &str, port: &str) -> Result<u16, AddressError> {
    // `parse` alone would take a plus sign.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if number != 0 && digits => Ok(number),
        _ => Err(AddressError::Port {
            text: text.to_owned(),
            port: port.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, String, Option<u16>) {
        let address: Address = text.parse().unwrap();
        (address.user, address.host, address.port)
    }

    #[test]
    fn parses_every_form() {
        let user = Some("admin".to_owned());
        assert_eq!(parts("web1"), (None, "web1".into(), None));
        assert_eq!(parts("web1:2222"), (None, "web1".into(), Some(2222)));
        assert_eq!(
            parts("admin@10.0.0.7"),
            (user.clone(), "10.0.0.7".into(), None)
        );
        assert_eq!(
            parts("admin@[::1]:22"),
            (user.clone(), "::1".into(), Some(22))
        );
        assert_eq!(parts("[fe80::1%eth0]"), (None, "fe80::1%eth0".into(), None));
        assert_eq!(parts("admin@::1"), (user, "::1".into(), None));
        assert_eq!(parts("a@b@c:1"), (Some("a@b".into()), "c".into(), Some(1)));
    }

    #[test]
    fn has_defaults() {
        let address: Address = "web1".parse().unwrap();
        assert_eq!((address.user(), address.port()), ("root", 22));
    }

    #[test]
    fn shows_what_it_parsed() {
        for text in [
            "web1",
            "root@web1:2222",
            "[::1]:22",
            "a@[2001:db8::7]",
            "[fe80::1%eth0]",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let bare: Address = "::1".parse().unwrap();
        assert_eq!(bare.to_string(), "[::1]");
        assert_eq!(bare.to_string().parse(), Ok(bare));
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            "root@",
            "@web1",
            "-oProxyCommand=x",
            "root@-web",
            "-x@web",
            "web 1",
            "web1:",
            "web1:0",
            "web1:65536",
            "web1:+22",
            "web1:/srv",
            "a:b:c",
            "[::1",
            "[::1]22",
            "[web1]:22",
            "web\n1",
        ] {
            let error = text.parse::<Address>();
            assert!(error.is_err(), "{text:?} became {error:?}");
        }
    }
}
