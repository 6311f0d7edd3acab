//! What tells the times of one file apart: starts of the host, and the clocks of containers.

use std::time::{SystemTime, UNIX_EPOCH};

/// What tells one start of the host from the next; 0 where nothing does.
#[cfg(target_os = "linux")]
pub(super) fn boot() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn boot() -> u64 {
    0
}

/// The number of the time namespace that this process is in: in another one the monotonic clock shows
/// another time. 0 where there are none.
#[cfg(target_os = "linux")]
pub(super) fn time_space() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/time").map_or(0, |space| space.ino())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn time_space() -> u64 {
    0
}

/// The namespace that the numbers of processes are of, for this one. 0 where there are none.
#[cfg(target_os = "linux")]
pub(super) fn process_space() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |space| space.ino())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn process_space() -> u64 {
    0
}

/// How far the wall clock is ahead of the host's, which shows `now`.
pub(super) fn wall_ahead(now: u64) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall = since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
    wall.saturating_sub(now)
}
