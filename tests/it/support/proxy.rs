//! A relay in front of a port of this machine that can stop moving bytes, or end all connections,
//! at any moment: a cable that is pulled. Knows nothing of what passes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A running relay.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stands_still: AtomicBool,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Starts one in front of `port`.
    pub fn start(port: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let near = near.unwrap();
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                relay(&near, &far, &shared);
                relay(&far, &near, &shared);
                shared.streams.lock().unwrap().extend([near, far]);
            }
        });
        Proxy {
            port: own_port,
            state,
        }
    }

    /// The port that it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Moves no byte any more, and tells nobody.
    pub fn stand_still(&self) {
        self.state.stands_still.store(true, Ordering::Relaxed);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        for stream in self.state.streams.lock().unwrap().drain(..) {
            // Closed already is as good.
            stream.shutdown(Shutdown::Both).unwrap_or(());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the listener; one that is gone needs no waking.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

/// Moves bytes one way until either end is closed.
fn relay(from: &TcpStream, to: &TcpStream, state: &Arc<State>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut move_bytes = || -> io::Result<()> {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = from.read(&mut buffer)?;
                if count == 0 {
                    return to.shutdown(Shutdown::Write);
                }
                while state.stands_still.load(Ordering::Relaxed) {
                    if state.is_over.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                to.write_all(&buffer[..count])?;
            }
        };
        // However a connection ends, both ends notice.
        drop(move_bytes());
    });
}
