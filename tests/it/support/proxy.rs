//! A relay in front of a port of this machine that can stop moving bytes, or end all connections,
//! at any moment: a cable that is pulled. Knows nothing of what passes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A running relay.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stands_still: AtomicBool,
    is_over: AtomicBool,
    /// How often the near sides were cut off; what began before the last time is mute.
    cuts: AtomicUsize,
    /// Near and far side of each connection.
    streams: Mutex<Vec<[TcpStream; 2]>>,
}

impl Proxy {
    /// Starts one in front of `port`.
    pub fn start(port: u16) -> Proxy {
        Proxy::start_with_delay(port, Duration::ZERO)
    }

    /// Starts one that passes every byte on after `delay`, whatever the rate.
    pub fn start_with_delay(port: u16, delay: Duration) -> Proxy {
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
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                relay(&near, &far, &shared, delay);
                relay(&far, &near, &shared, delay);
                shared.streams.lock().unwrap().push([near, far]);
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
        for stream in self.state.streams.lock().unwrap().drain(..).flatten() {
            // Closed already is as good.
            stream.shutdown(Shutdown::Both).unwrap_or(());
        }
    }

    /// Ends all connections for those who have made them; the other side hears nothing more, and not
    /// that they are over.
    pub fn cut_near(&self) {
        self.state.cuts.fetch_add(1, Ordering::Relaxed);
        for [near, _] in self.state.streams.lock().unwrap().iter() {
            near.shutdown(Shutdown::Both).unwrap_or(());
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
fn relay(from: &TcpStream, to: &TcpStream, state: &Arc<State>, delay: Duration) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let state = Arc::clone(state);
    let cuts = state.cuts.load(Ordering::Relaxed);
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        // However a connection ends, both ends notice.
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + delay;
            if under_way.send((due, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        let mut move_bytes = || -> io::Result<()> {
            while let Ok((due, bytes)) = arriving.recv() {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                while state.stands_still.load(Ordering::Relaxed) {
                    if state.is_over.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                to.write_all(&bytes)?;
            }
            match state.cuts.load(Ordering::Relaxed) == cuts {
                true => to.shutdown(Shutdown::Write),
                false => Ok(()),
            }
        };
        // Closed already is as good.
        drop(move_bytes());
    });
}
