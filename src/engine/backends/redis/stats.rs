//! Who holds a limit, and how it stands.

use std::collections::HashMap;
use std::time::Duration;

use redis::RedisResult;

use super::ear::OVER;
use super::line::{Failure, Line, Script};

/// One process that holds a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its host,
    pub host: String,
    /// its number there,
    pub process: u32,
    /// since when it holds it,
    pub since: Duration,
    /// when it was last heard of,
    pub seen: Duration,
    /// and how many waited in it then.
    pub waiting: u64,
}

/// How a limit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Who holds it: those who hear of its pauses.
    pub holders: Vec<Holder>,
    /// The weight of the permits that count.
    pub permits: u64,
    /// How long all pause yet,
    pub paused: Duration,
    /// and the host and process that wanted it.
    pub paused_by: Option<(String, u32)>,
    /// For how long nothing is granted yet, as the server has lost what was.
    pub learning: Duration,
}

/// Reads how the limit stands. A request before has brought it up to date.
pub(super) fn read(line: &mut Line, script: &Script, channel: &str) -> Result<Stats, Failure> {
    let (limit, holders) = script.limit();
    let connection = line.connection();
    let (fields, listed): (HashMap<String, String>, HashMap<String, String>) = redis::pipe()
        .hgetall(limit)
        .hgetall(holders)
        .query(connection)?;
    let mut holders_seen = Vec::new();
    let number = |name: &str| fields.get(name).and_then(|it| it.parse().ok()).unwrap_or(0);
    let now = number("now");
    for (name, text) in &listed {
        // Who does not listen on its channel has gone, whatever has become of it.
        let own = format!("{channel}:{name}");
        let mut listeners = redis::cmd("PUBSUB");
        let heard: RedisResult<(String, u64)> = listeners.arg("NUMSUB").arg(&own).query(connection);
        if heard.map_or(true, |(_, listeners)| listeners > 0) {
            holders_seen.extend(holder(text, now));
        }
    }
    holders_seen.sort_by_key(|holder| std::cmp::Reverse(holder.since));
    let paused_by = fields.get("paused_by").and_then(|text| {
        let (host, rest) = text.split_once(' ')?;
        let process = rest.split(' ').next()?.parse().ok()?;
        Some((host.to_owned(), process))
    });
    let paused = from(number("paused"), now);
    Ok(Stats {
        holders: holders_seen,
        permits: u64::try_from(number("weight")).unwrap_or(0),
        paused,
        paused_by: paused_by.filter(|_| !paused.is_zero()),
        learning: from(number("closed"), now),
    })
}

/// From the text that the script keeps: when it was seen, its host, process, since when, and how many
/// wait.
fn holder(text: &str, now: i64) -> Option<Holder> {
    let mut words = text.split(' ');
    let seen: i64 = words.next()?.parse().ok()?;
    let host = words.next()?.to_owned();
    let process = words.next()?.parse().ok()?;
    let since: i64 = words.next()?.parse().ok()?;
    let waiting = words.next()?.parse().ok()?;
    Some(Holder {
        host,
        process,
        since: from(now, if since == 0 { seen } else { since }),
        seen: from(now, seen),
        waiting,
    })
}

/// Microseconds from one time to the next.
fn from(later: i64, earlier: i64) -> Duration {
    let micros = later.saturating_sub(earlier).max(0);
    Duration::from_micros(micros.unsigned_abs())
}

/// Takes a holder off the list, and ends its listening.
pub(super) fn forget(
    line: &mut Line,
    script: &Script,
    holder: &str,
    own_channel: &str,
) -> Result<(), Failure> {
    let mut both = redis::pipe();
    both.hdel(script.limit().1, holder)
        .publish(own_channel, OVER);
    Ok(both.query::<()>(line.connection())?)
}

/// What this machine is called, without blanks.
pub(super) fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    let name: String = name.split_whitespace().collect();
    if name.is_empty() {
        "?".to_owned()
    } else {
        name
    }
}
