//! Frames: how one message and its body become bytes, and back, with every length capped before
//! anything is allocated. Knows nothing of what the messages mean.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// LIMIT: raw bytes of one frame (docs/protocol.md, [frame]).
pub const MAX_RAW_LEN: usize = 4 << 20;
const MAX_FRAME_LEN: usize = MAX_RAW_LEN + 16;
const FLAG_ZSTD: u8 = 1;
const LENGTH_LEN: usize = 4;
const PREFIX_LEN: usize = LENGTH_LEN + 1;

/// Why bytes from the peer are no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Reading or writing failed, or the stream ended.
    #[error("the link broke")]
    Io(#[from] io::Error),
    /// The stream ended between two frames.
    #[error("the link was closed")]
    Closed,
    /// A length is over its limit or beyond the frame.
    #[error("a length of {length} bytes in a frame, {limit} are allowed")]
    TooLong {
        /// What the peer said.
        length: usize,
        /// What is allowed there.
        limit: usize,
    },
    /// The bytes decode to nothing.
    #[error("a frame that makes no sense ({0})")]
    Malformed(&'static str),
}

/// How a frame is packed for the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// With zstd at this level; kept plain where that does not shrink it.
    Zstd(i32),
}

/// A message that waits to be written, and its wire form. WIRE[frame]
#[derive(Debug)]
pub struct EncodedFrame(Vec<u8>);

impl EncodedFrame {
    /// Returns the bytes for the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Builds a frame in place, so that contents are read from disk right into it.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// Starts a frame with its header; `body_capacity` bytes of body are expected.
    pub fn new(header: &impl Serialize, body_capacity: usize) -> Result<FrameBuilder, FrameError> {
        let mut bytes = Vec::with_capacity(PREFIX_LEN + 4 + 256 + body_capacity);
        bytes.resize(PREFIX_LEN + 4, 0);
        let mut bytes = postcard::to_extend(header, bytes)
            .map_err(|_| FrameError::Malformed("a header that cannot be encoded"))?;
        let header_len = bytes.len() - PREFIX_LEN - 4;
        bytes[PREFIX_LEN..PREFIX_LEN + 4].copy_from_slice(&length_bytes(header_len)?);
        Ok(FrameBuilder { bytes })
    }

    /// Returns the buffer; what is appended becomes the body.
    pub fn body(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Closes the frame.
    pub fn finish(self, packing: Packing) -> Result<EncodedFrame, FrameError> {
        let mut bytes = self.bytes;
        let raw_len = bytes.len() - PREFIX_LEN;
        if raw_len > MAX_RAW_LEN {
            return Err(FrameError::TooLong {
                length: raw_len,
                limit: MAX_RAW_LEN,
            });
        }
        if let Packing::Zstd(level) = packing
            && let Some(packed) = compress(&bytes[PREFIX_LEN..], level)?
        {
            return Ok(EncodedFrame(packed));
        }
        bytes[..LENGTH_LEN].copy_from_slice(&length_bytes(raw_len + 1)?);
        Ok(EncodedFrame(bytes))
    }
}

/// Encodes a message without a body.
pub fn encode(header: &impl Serialize, packing: Packing) -> Result<EncodedFrame, FrameError> {
    FrameBuilder::new(header, 0)?.finish(packing)
}

fn length_bytes(length: usize) -> Result<[u8; 4], FrameError> {
    u32::try_from(length)
        .map(u32::to_le_bytes)
        .map_err(|_| FrameError::TooLong {
            length,
            limit: MAX_RAW_LEN,
        })
}

fn compress(raw: &[u8], level: i32) -> Result<Option<Vec<u8>>, FrameError> {
    let mut packed = vec![0u8; PREFIX_LEN + 4 + zstd::zstd_safe::compress_bound(raw.len())];
    let length = zstd::bulk::compress_to_buffer(raw, &mut packed[PREFIX_LEN + 4..], level)?;
    if length + 4 >= raw.len() {
        return Ok(None);
    }
    packed.truncate(PREFIX_LEN + 4 + length);
    packed[..LENGTH_LEN].copy_from_slice(&length_bytes(1 + 4 + length)?);
    packed[LENGTH_LEN] = FLAG_ZSTD;
    packed[PREFIX_LEN..PREFIX_LEN + 4].copy_from_slice(&length_bytes(raw.len())?);
    Ok(Some(packed))
}

/// One frame as it arrived, unpacked.
#[derive(Debug)]
pub struct Frame {
    raw: Vec<u8>,
    body_start: usize,
    wire_len: usize,
}

impl Frame {
    /// Reads the next frame.
    pub fn read(link: &mut impl Read) -> Result<Frame, FrameError> {
        let mut length = [0u8; LENGTH_LEN];
        read_first(link, &mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 || length > MAX_FRAME_LEN {
            return Err(FrameError::TooLong {
                length,
                limit: MAX_FRAME_LEN,
            });
        }
        let mut flags = [0u8; 1];
        link.read_exact(&mut flags)?;
        let mut rest = Vec::with_capacity(length - 1);
        let count = link.take(length as u64 - 1).read_to_end(&mut rest)?;
        if count != length - 1 {
            return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Frame::unpack(flags[0], rest, LENGTH_LEN + length)
    }

    fn unpack(flags: u8, rest: Vec<u8>, wire_len: usize) -> Result<Frame, FrameError> {
        let raw = match flags {
            0 => rest,
            FLAG_ZSTD => decompress(&rest)?,
            _ => return Err(FrameError::Malformed("unknown flags")),
        };
        let (head, rest) = raw
            .split_first_chunk::<4>()
            .ok_or(FrameError::Malformed("too short"))?;
        let header_len = u32::from_le_bytes(*head) as usize;
        if header_len > rest.len() {
            return Err(FrameError::TooLong {
                length: header_len,
                limit: rest.len(),
            });
        }
        Ok(Frame {
            body_start: 4 + header_len,
            raw,
            wire_len,
        })
    }

    /// Decodes the header.
    pub fn message<M: DeserializeOwned>(&self) -> Result<M, FrameError> {
        let header = self.raw.get(4..self.body_start).unwrap_or_default();
        match postcard::take_from_bytes::<M>(header) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err(FrameError::Malformed("bytes after the header")),
            Err(_) => Err(FrameError::Malformed("a header that cannot be decoded")),
        }
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        self.raw.get(self.body_start..).unwrap_or_default()
    }

    /// Returns how many bytes it took on the wire.
    pub fn wire_len(&self) -> usize {
        self.wire_len
    }
}

/// Reads the length field; a stream that ends before its first byte was closed properly.
fn read_first(link: &mut impl Read, length: &mut [u8; LENGTH_LEN]) -> Result<(), FrameError> {
    let count = loop {
        match link.read(length) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    if count == 0 {
        return Err(FrameError::Closed);
    }
    Ok(link.read_exact(&mut length[count..])?)
}

fn decompress(rest: &[u8]) -> Result<Vec<u8>, FrameError> {
    let (head, packed) = rest
        .split_first_chunk::<4>()
        .ok_or(FrameError::Malformed("too short"))?;
    let raw_len = u32::from_le_bytes(*head) as usize;
    if raw_len > MAX_RAW_LEN {
        return Err(FrameError::TooLong {
            length: raw_len,
            limit: MAX_RAW_LEN,
        });
    }
    let raw = zstd::bulk::decompress(packed, raw_len)
        .map_err(|_| FrameError::Malformed("packed bytes that cannot be unpacked"))?;
    if raw.len() != raw_len {
        return Err(FrameError::Malformed("a wrong raw length"));
    }
    Ok(raw)
}

/// Writes frames and flushes where the caller says.
pub fn write_frame(link: &mut impl Write, frame: &EncodedFrame) -> io::Result<()> {
    link.write_all(&frame.0)
}

#[cfg(test)]
mod tests {
    use super::{Frame, FrameBuilder, FrameError, MAX_FRAME_LEN, Packing, encode};

    fn read(bytes: &[u8]) -> Result<Frame, FrameError> {
        Frame::read(&mut &bytes[..])
    }

    #[test]
    fn carries_header_and_body_packed_or_plain() {
        for packing in [Packing::Plain, Packing::Zstd(1)] {
            let mut builder = FrameBuilder::new(&(7u32, "seven"), 0).unwrap();
            builder.body().extend_from_slice(&[b'x'; 10_000]);
            let frame = read(builder.finish(packing).unwrap().as_bytes()).unwrap();
            assert_eq!(
                frame.message::<(u32, String)>().unwrap(),
                (7, "seven".to_owned())
            );
            assert_eq!(frame.body(), [b'x'; 10_000]);
        }
    }

    #[test]
    fn refuses_lengths_over_the_limit_before_it_allocates() {
        let huge = u32::MAX.to_le_bytes();
        assert!(matches!(read(&huge), Err(FrameError::TooLong { .. })));
        assert!(matches!(
            read(&[0, 0, 0, 0]),
            Err(FrameError::TooLong { .. })
        ));
        let mut bomb = ((1 + 4 + 4) as u32).to_le_bytes().to_vec();
        bomb.push(1);
        bomb.extend_from_slice(&u32::MAX.to_le_bytes());
        bomb.extend_from_slice(&[0; 4]);
        assert!(matches!(read(&bomb), Err(FrameError::TooLong { .. })));
        let mut header = 5u32.to_le_bytes().to_vec();
        header.push(0);
        header.extend_from_slice(&(MAX_FRAME_LEN as u32).to_le_bytes());
        assert!(matches!(read(&header), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn refuses_leftover_header_bytes_and_unknown_flags() {
        let frame = read(encode(&(1u8, 2u8), Packing::Plain).unwrap().as_bytes()).unwrap();
        assert!(frame.message::<u8>().is_err());
        assert!(read(&[5, 0, 0, 0, 2, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn tells_a_closed_link_from_a_cut_one() {
        assert!(matches!(read(&[]), Err(FrameError::Closed)));
        assert!(matches!(read(&[9, 0]), Err(FrameError::Io(_))));
        assert!(matches!(read(&[9, 0, 0, 0, 0, 1]), Err(FrameError::Io(_))));
    }
}
