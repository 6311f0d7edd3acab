//! Who holds a limit, and how it stands.

use std::collections::HashMap;
use std::time::Duration;

use redis::RedisResult;

use super::ear::OVER;
use super::line::{Failure, Line, Script};
use crate::engine::limiter::{Holder, Shared, Why};

/// How it is written that a server has refused a call.
pub(super) const REFUSED: &str = "refused";

/// Reads how the limit stands. A request before has brought it up to date.
pub(super) fn read(line: &mut Line, script: &Script, channel: &str) -> Result<Shared, Failure> {
    let (limit, holders) = script.limit();
    let connection = line.connection();
    let (fields, listed): (HashMap<String, String>, HashMap<String, String>) = redis::pipe()
        .hgetall(limit)
        .hgetall(holders)
        .query(connection)?;
    let mut seen = Vec::new();
    for (name, text) in &listed {
        // Who does not listen on its channel has gone, whatever has become of it.
        let own = format!("{channel}:{name}");
        let mut listeners = redis::cmd("PUBSUB");
        let heard: RedisResult<(String, u64)> = listeners.arg("NUMSUB").arg(&own).query(connection);
        if heard.map_or(true, |(_, listeners)| listeners > 0) {
            seen.extend(holder(text));
        }
    }
    seen.sort_by(|one, other| one.since.total_cmp(&other.since));
    let number =
        |name: &str| -> i64 { fields.get(name).and_then(|it| it.parse().ok()).unwrap_or(0) };
    let left = number("paused").saturating_sub(number("now")).max(0);
    let paused_by = fields.get("paused_by").and_then(|text| {
        let mut words = text.split(' ');
        let process = words.nth(1)?.parse().ok()?;
        let why = if words.nth(2)? == REFUSED {
            Why::Refused
        } else {
            Why::Asked
        };
        Some((Duration::from_micros(left.unsigned_abs()), why, process))
    });
    Ok(Shared {
        place: None,
        used: u64::try_from(number("weight")).unwrap_or(0),
        pause: paused_by.filter(|_| left > 0),
        holders: seen,
    })
}

/// From the text that the script keeps: when it was seen, its host, process, since when, what it
/// waits for.
fn holder(text: &str) -> Option<Holder> {
    let mut words = text.split(' ');
    let seen: i64 = words.next()?.parse().ok()?;
    let host = words.next()?.to_owned();
    let process = words.next()?.parse().ok()?;
    let since: i64 = words.next()?.parse().ok()?;
    let waits_for = words.next()?.parse().ok()?;
    // At first it does not know the time at the server.
    let since = if since == 0 { seen } else { since };
    let since = Duration::from_micros(since.unsigned_abs());
    Some(Holder {
        host: Some(host),
        process,
        since: since.as_secs_f64(),
        waits_for,
    })
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
