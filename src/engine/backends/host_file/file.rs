//! The file of a limit: opened, made, and replaced by one with other numbers.
//!
//! What takes permits needs no lock. What opens or replaces a file has an OS lock on another one beside
//! it, which the system lets go of when a process ends. A file is replaced by a new one under its name;
//! who has the old one mapped is told by its word [`Word::Moved`], and opens the new one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use super::layout::{LARGEST_LIMIT, MAGIC, Numbers, SLOTS, VERSION, Word};
use super::map::{Map, WORD};
use super::place::{is_own, refuse, refuse_network, remake_folder, system};
use super::{holders, host, ring};
use crate::engine::limiter::OpenError;

/// How long to wait for another process that opens the file: that takes less than a millisecond, or
/// a tenth of a second for the largest.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for one who holds up others of its process meanwhile, and can look again.
const LITTLE_PATIENCE: Duration = Duration::from_millis(5);
/// How far two readings of the wall clock may be apart that are of one start of the host.
const WALL_STEP: u64 = 1_000_000_000;

/// A file, and what is mapped of it.
#[derive(Debug)]
pub(super) struct LimitFile {
    path: PathBuf,
    file: File,
    map: Map,
}

impl LimitFile {
    /// Its path without links, as far as it can be found now.
    pub(super) fn place(&self) -> String {
        let path = fs::canonicalize(&self.path);
        path.as_ref().unwrap_or(&self.path).display().to_string()
    }

    /// Opens the file, or makes it. `longest` is how long a permit of this process stays at most.
    pub(super) fn open(
        path: PathBuf,
        numbers: &Numbers,
        (now, longest): (u64, u64),
    ) -> Result<Self, OpenError> {
        if numbers.limit > LARGEST_LIMIT {
            return refuse(format!(
                "a shared limit must be at most {LARGEST_LIMIT}, for which its file has 80 MB, not {}",
                numbers.limit
            ));
        }
        let _lock = Lock::of(&path, PATIENCE)?;
        let file = match Self::find(&path)? {
            None => Self::make(path, numbers)?,
            Some(found) => {
                let found = found.of_this_start(now)?;
                if Numbers::of_file(&found.map) == *numbers {
                    found
                } else if found.is_idle(now) {
                    found.replace(numbers, now, |leaves| leaves)?
                } else {
                    return refuse(format!(
                        "the limit shared as {} is in use with {}: it cannot be had with {} until its \
                         permits have left the window and nobody waits",
                        found.path.display(),
                        Numbers::of_file(&found.map).in_words(),
                        numbers.in_words()
                    ));
                }
            }
        };
        file.map.set(Word::WallAhead, host::wall_ahead(now));
        file.map.at(Word::Longest).fetch_max(longest, SeqCst);
        Ok(file)
    }

    /// The file that has taken the place of this one, with what was counted here. Where this one was
    /// deleted, that is a new one.
    pub(super) fn successor(&self, now: u64) -> Result<Self, OpenError> {
        remake_folder(&self.path)?;
        let _lock = Lock::of(&self.path, LITTLE_PATIENCE)?;
        let generation = self.map.get(Word::Generation);
        let found = match Self::find(&self.path)? {
            Some(found) => found,
            None => Self::make(self.path.clone(), &Numbers::of_file(&self.map))?,
        };
        // Who replaced it has copied what counts. Who made one in the place of a deleted one has not.
        let heir_of = found.map.get(Word::Heir);
        let is_other = found.map.get(Word::Generation) != generation;
        if is_other && heir_of != generation && !self.has_moved() {
            let mut seen = ring::Seen::default();
            for leaves in ring::stay(&self.map, now) {
                ring::take(&found.map, &mut seen, 1, u64::MAX, (now, leaves));
            }
            let paused = self.map.get(Word::PausedUntil);
            found.map.at(Word::PausedUntil).fetch_max(paused, SeqCst);
            found.map.set(Word::Heir, generation);
        }
        let longest = self.map.get(Word::Longest);
        found.map.at(Word::Longest).fetch_max(longest, SeqCst);
        Ok(found)
    }

    /// The same limit with other numbers, for everybody. What counts stays so much longer as `per` is
    /// longer.
    pub(super) fn change(&self, numbers: &Numbers, now: u64) -> Result<Self, OpenError> {
        let _lock = Lock::of(&self.path, Duration::ZERO)?;
        let Some(found) = Self::find(&self.path)? else {
            return Self::make(self.path.clone(), numbers);
        };
        let before = Numbers::of_file(&found.map).per;
        let changed = found.replace(numbers, now, |leaves| {
            (leaves + numbers.per).saturating_sub(before)
        })?;
        let longest = found.map.get(Word::Longest) + numbers.per;
        changed
            .map
            .set(Word::Longest, longest.saturating_sub(before));
        Ok(changed)
    }

    pub(super) const fn map(&self) -> &Map {
        &self.map
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another file has taken its place, or is about to.
    #[inline(always)]
    pub(super) fn has_moved(&self) -> bool {
        self.map.get(Word::Moved) != 0
    }

    /// Whether it was deleted.
    #[cfg(unix)]
    pub(super) fn is_deleted(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    #[cfg(not(unix))]
    pub(super) fn is_deleted(&self) -> bool {
        let _ = &self.file;
        false
    }

    /// The file at the path, checked; None if there is none. The lock is held.
    fn find(path: &Path) -> Result<Option<Self>, OpenError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system("cannot open the shared limit", path, &error)),
        };
        let about = file
            .metadata()
            .map_err(|error| system("cannot look at the shared limit", path, &error))?;
        if !about.is_file() || !is_own(&about) {
            return refuse(format!(
                "shared={} is not a file of this user: limits are shared among the processes of one \
                 user",
                path.display()
            ));
        }
        refuse_network(path, &file)?;
        let bytes = usize::try_from(about.len()).unwrap_or(0);
        let foreign = || {
            refuse(format!(
                "{} is not the file of a shared limit of this version of paceline: delete it if nobody \
                 uses it, or give another path",
                path.display()
            ))
        };
        if bytes < SLOTS * WORD || bytes % WORD != 0 {
            return foreign();
        }
        let map = Map::of(&file, bytes / WORD)
            .map_err(|error| system("cannot map the shared limit", path, &error))?;
        let numbers = Numbers::of_file(&map);
        let ours = map.get(Word::Magic) == MAGIC && map.get(Word::Version) == VERSION;
        if !ours || !(1..=LARGEST_LIMIT).contains(&numbers.limit) || numbers.words() != map.words()
        {
            return foreign();
        }
        // Who was to replace it has ended before: nobody has the lock but us.
        map.set(Word::Moved, 0);
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            map,
        }))
    }

    /// A new file at the path. The lock is held.
    fn make(path: PathBuf, numbers: &Numbers) -> Result<Self, OpenError> {
        let (new, temporary) = Self::prepare(path, numbers)?;
        new.put_in_place(&temporary)?;
        Ok(new)
    }

    fn prepare(path: PathBuf, numbers: &Numbers) -> Result<(Self, PathBuf), OpenError> {
        let temporary = beside(&path, "paceline-new");
        let new = Self::write(path, numbers, &temporary);
        if new.is_err() {
            // What was written may have filled the file system.
            let _ = fs::remove_file(&temporary);
        }
        Ok((new?, temporary))
    }

    fn write(path: PathBuf, numbers: &Numbers, temporary: &Path) -> Result<Self, OpenError> {
        let cannot = |error: &std::io::Error| system("cannot make the shared limit", &path, error);
        // Left by one that was killed. The name is nobody else's, and no link is followed.
        let _ = fs::remove_file(temporary);
        let mut file = create(temporary).map_err(|error| cannot(&error))?;
        refuse_network(&path, &file)?;
        // Written, not only made longer: where there is no room it is to be said now.
        let words = numbers.words();
        let zeros = vec![0; 1 << 16];
        let mut left = words * WORD;
        while left > 0 {
            let part = left.min(zeros.len());
            file.write_all(&zeros[..part])
                .map_err(|error| cannot(&error))?;
            left -= part;
        }
        let map = Map::of(&file, words).map_err(|error| cannot(&error))?;
        numbers.write(&map);
        map.set(Word::Magic, MAGIC);
        map.set(Word::Version, VERSION);
        map.set(Word::Generation, fastrand::u64(1..));
        map.set(Word::Boot, host::boot());
        map.set(Word::TimeSpace, host::time_space());
        Ok(Self { path, file, map })
    }

    fn put_in_place(&self, temporary: &Path) -> Result<(), OpenError> {
        fs::rename(temporary, &self.path)
            .map_err(|error| system("cannot put in place the shared limit", &self.path, &error))
    }

    /// Puts a file with other numbers in the place of this one, with what counts here, at the times that
    /// `leaves` makes of those that are written here. The lock is held.
    fn replace(
        &self,
        numbers: &Numbers,
        now: u64,
        leaves: impl Fn(u64) -> u64,
    ) -> Result<Self, OpenError> {
        let (new, temporary) = Self::prepare(self.path.clone(), numbers)?;
        let (old, map) = (&self.map, &new.map);
        // From here on nobody takes a permit here and starts with it: who does so looks at this word
        // after it has taken the permit. So all that count are seen below.
        old.set(Word::Moved, 1);
        let stays = (0..old.slots())
            .map(|slot| old.slot(slot).load(SeqCst))
            .filter(|it| *it > 0);
        let mut stays: Vec<_> = stays.map(&leaves).filter(|it| *it > now).collect();
        stays.sort_unstable();
        // Of more than the limit those that leave last: when the first of them does, there is room.
        let surplus = stays.len().saturating_sub(map.slots());
        let free = map.slots() - (stays.len() - surplus);
        for (slot, stays) in stays[surplus..].iter().enumerate() {
            map.slot(free + slot).store(*stays, SeqCst);
        }
        for word in [
            Word::Granted,
            Word::Turns,
            Word::PausedBy,
            Word::Longest,
            Word::Heir,
        ] {
            map.set(word, old.get(word));
        }
        let paused = old.get(Word::PausedUntil);
        if paused > 0 {
            map.set(Word::PausedUntil, leaves(paused));
        }
        if numbers.burst == old.get(Word::Burst) && old.get(Word::Earned) > 0 {
            map.set(Word::Earned, leaves(old.get(Word::Earned)));
        }
        new.put_in_place(&temporary)?;
        Ok(new)
    }

    /// The same file in the times of this start of the host. The lock is held.
    fn of_this_start(self, now: u64) -> Result<Self, OpenError> {
        let ahead = host::wall_ahead(now);
        let before = self.map.get(Word::WallAhead);
        let (boot, then) = (host::boot(), self.map.get(Word::Boot));
        let restarted = boot != then || (boot == 0 && ahead.abs_diff(before) > WALL_STEP);
        if !restarted {
            if self.map.get(Word::TimeSpace) != host::time_space() {
                return refuse(format!(
                    "the limit shared as {} is used in another time namespace, where clocks show \
                     other times: give each container a limit of its own, or shared=\"redis://...\"",
                    self.path.display()
                ));
            }
            return Ok(self);
        }
        // What was counted before the restart still counts; the wall clock says for how long. Where
        // it was set back meanwhile, nothing stays for longer than it can.
        let longest = self.map.get(Word::Longest);
        let numbers = Numbers::of_file(&self.map);
        self.replace(&numbers, now, |leaves| {
            (leaves + before).saturating_sub(ahead).min(now + longest)
        })
    }

    fn is_idle(&self, now: u64) -> bool {
        ring::used(&self.map, now) == 0
            && self.map.get(Word::PausedUntil) <= now
            && !holders::anybody_waits(&self.map, now)
    }
}

/// The lock of whoever opens or replaces the file.
struct Lock(File);

impl Lock {
    fn of(path: &Path, patience: Duration) -> Result<Self, OpenError> {
        let beside = beside(path, "lock");
        let file = open_lock(&beside)
            .map_err(|error| system("cannot open the lock of the shared limit", path, &error))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::Busy(format!(
                        "another process has been opening the limit shared as {} for long: it may have \
                         been stopped",
                        path.display(),
                    )));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(system("cannot lock the shared limit", path, &error));
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said in so many words: a child that was forked meanwhile has the same lock, and would keep it.
        let _ = self.0.unlock();
    }
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    own_alone(&mut options);
    options.open(path)
}

fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    own_alone(&mut options);
    options.open(path)
}

#[cfg(unix)]
fn own_alone(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn own_alone(_options: &mut OpenOptions) {}
