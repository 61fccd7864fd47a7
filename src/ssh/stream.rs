//! The TCP stream of a connection: what arrives on it is acknowledged at once.
//!
//! Where nobody asks for a terminal, sshd leaves Nagle's algorithm on: a small packet waits until the
//! one before was acknowledged. The kernel on this side holds acknowledgements back for 40 ms, in
//! case something is sent that can carry them. So each login would stand still for 40 ms
//! (docs/decisions/022-near.md). Knows nothing of what is in the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A stream to the target.
pub(super) struct PromptStream(TcpStream);

impl PromptStream {
    /// Has small packets leave at once, and what arrives acknowledged at once.
    pub fn new(stream: TcpStream) -> PromptStream {
        // Without it the last packet of a message waits for an acknowledgement; a stream that
        // refuses works all the same.
        stream.set_nodelay(true).unwrap_or_default();
        PromptStream(stream)
    }
}

impl AsyncRead for PromptStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        // The kernel forgets it when something is sent. Where it refuses, it is only slower.
        set_tcp_quickack(&self.0, true).unwrap_or_default();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PromptStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::tcp_quickack;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_was_read_is_acknowledged_at_once_however_often_was_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut near, mut far) = (PromptStream::new(near.unwrap()), far.unwrap().0);
        let mut byte = [0];
        for _ in 0..8 {
            far.write_all(b"?").await.unwrap();
            near.read_exact(&mut byte).await.unwrap();
            assert!(tcp_quickack(&near.0).unwrap());
            near.write_all(b"!").await.unwrap();
            far.read_exact(&mut byte).await.unwrap();
        }
        assert!(
            !tcp_quickack(&far).unwrap(),
            "a plain stream holds them back by now"
        );
    }
}
