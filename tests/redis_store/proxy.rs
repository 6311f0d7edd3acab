//! A network between a store and its server: slow, or lossy, or gone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Listens at a port of its own.
pub(crate) struct Proxy {
    port: u16,
    ways: Arc<Ways>,
}

#[derive(Default)]
struct Ways {
    target: PathBuf,
    /// Of each way, in milliseconds.
    delay: AtomicU64,
    /// So many replies of the script get lost, and the connection with each.
    lost: AtomicU32,
    /// What is published does not arrive.
    is_deaf: AtomicBool,
    /// Nobody gets through.
    is_cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn start(target: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ways = Arc::new(Ways {
            target: target.to_owned(),
            ..Ways::default()
        });
        let accepts = Arc::clone(&ways);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepts.connect(&client);
            }
        });
        Self { port, ways }
    }

    pub(crate) fn address(&self, name: &str) -> String {
        format!("redis://127.0.0.1:{}#{name}", self.port)
    }

    /// Every message takes so much longer, each way.
    pub(crate) fn delay(&self, ms: u64) {
        self.ways.delay.store(ms, SeqCst);
    }

    pub(crate) fn lose_replies(&self, count: u32) {
        self.ways.lost.store(count, SeqCst);
    }

    pub(crate) fn lost_all(&self) -> bool {
        self.ways.lost.load(SeqCst) == 0
    }

    pub(crate) fn deafen(&self, is_deaf: bool) {
        self.ways.is_deaf.store(is_deaf, SeqCst);
    }

    /// Ends all connections, and lets no new ones through until it is mended.
    pub(crate) fn cut(&self) {
        self.ways.is_cut.store(true, SeqCst);
        self.drop_connections();
    }

    pub(crate) fn mend(&self) {
        self.ways.is_cut.store(false, SeqCst);
    }

    pub(crate) fn drop_connections(&self) {
        #[allow(clippy::disallowed_methods)]
        for connection in self.ways.open.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Ways {
    fn connect(self: &Arc<Self>, client: &TcpStream) {
        if self.is_cut.load(SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        client.set_nodelay(true).unwrap();
        let Ok(server) = UnixStream::connect(&self.target) else {
            let _ = client.shutdown(Shutdown::Both);
            return;
        };
        #[allow(clippy::disallowed_methods)]
        self.open.lock().unwrap().push(client.try_clone().unwrap());
        let subscribes = Arc::new(AtomicBool::new(false));
        let client = client.try_clone().unwrap();
        let (to_server, from_server) = (server.try_clone().unwrap(), server);
        let (to_client, from_client) = (client.try_clone().unwrap(), client);
        let ways = Arc::clone(self);
        let seen = Arc::clone(&subscribes);
        let requests = Self::later(to_server);
        thread::spawn(move || {
            copy(from_client, |part| {
                let text = String::from_utf8_lossy(part);
                seen.fetch_or(text.contains("SUBSCRIBE"), SeqCst);
                requests.send((ways.due(), part.to_vec())).is_ok()
            });
        });
        let ways = Arc::clone(self);
        let replies = Self::later(to_client.try_clone().unwrap());
        thread::spawn(move || {
            copy(from_server, |part| {
                let is_news = subscribes.load(SeqCst);
                if is_news && ways.is_deaf.load(SeqCst) {
                    return true;
                }
                let is_reply = part.starts_with(b"*") && !is_news;
                let less = |left: u32| left.checked_sub(1);
                if is_reply && ways.lost.fetch_update(SeqCst, SeqCst, less).is_ok() {
                    let _ = to_client.shutdown(Shutdown::Both);
                    return false;
                }
                replies.send((ways.due(), part.to_vec())).is_ok()
            });
            let _ = to_client.shutdown(Shutdown::Both);
        });
    }

    fn due(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.delay.load(SeqCst))
    }

    /// Writes what it is sent when that is due.
    fn later(mut to: impl Write + Send + 'static) -> mpsc::Sender<(Instant, Vec<u8>)> {
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::spawn(move || {
            for (due, part) in receiver {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&part).is_err() {
                    return;
                }
            }
        });
        sender
    }
}

fn copy(mut from: impl Read, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || !pass(&buffer[..length]) {
            return;
        }
    }
}
