//! The thread that hears of pauses.

use std::time::Duration;

use redis::{Msg, PubSub, RedisResult};

use super::ear::OVER;
use super::line::{connect, in_words};
use super::link::Link;
use crate::engine::time::Time;

/// How often it looks whether it is needed still.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long leaving may take.
const LEAVING: Duration = Duration::from_millis(20);

/// Hears until there is nothing to be heard any more, or another thread does.
pub(super) fn listen(link: &Link, epoch: u64) {
    let end = hear_all(link, epoch);
    let why = end.map_or_else(|error| in_words(&error), |()| "it is over".to_owned());
    let mut shared = link.locked();
    if shared.ear.is_heard_by(epoch) {
        shared.ear.close(&why);
        drop(shared);
        link.tell();
    }
}

fn hear_all(link: &Link, epoch: u64) -> RedisResult<()> {
    let mut connection = connect(link.address(), link.patience())?;
    let mut channels = connection.as_pubsub();
    let end = hear_channels(link, epoch, &mut channels);
    // Leaving the channels waits for the server's word.
    channels.set_read_timeout(Some(LEAVING))?;
    end
}

fn hear_channels(link: &Link, epoch: u64, channels: &mut PubSub<'_>) -> RedisResult<()> {
    for channel in link.channels() {
        channels.subscribe(channel)?;
    }
    channels.set_read_timeout(Some(LOOK_EVERY))?;
    if !note(link, epoch, None) {
        return Ok(());
    }
    loop {
        let message = match channels.get_message() {
            Ok(message) => Some(message),
            Err(error) if error.is_timeout() => None,
            Err(error) => return Err(error),
        };
        let is_needed = message.map_or_else(
            || !link.is_stopped() && link.locked().ear.is_heard_by(epoch),
            |message| note(link, epoch, Some(&message)),
        );
        if !is_needed {
            return Ok(());
        }
    }
}

/// Takes note of a message. Whether there is anybody who wants to hear more.
fn note(link: &Link, epoch: u64, message: Option<&Msg>) -> bool {
    let now = Time::now();
    let text = message.map(|message| message.get_payload::<String>().unwrap_or_default());
    let mut shared = link.locked();
    if !shared.ear.is_heard_by(epoch) {
        return false;
    }
    shared.ear.hear(now);
    let words = text.as_deref().and_then(|text| text.split_once(' '));
    let state = &mut shared.state;
    match words {
        Some(("pause", until)) => state.hear_pause(number(until), now),
        Some(("generation", generation)) => state.hear_generation(number(generation), now),
        Some(("numbers", numbers)) => state.hear_numbers(numbers),
        Some(("cut", holder)) if holder != link.me().0 => state.terms().hear_cut(),
        Some(("cut", _)) => {}
        // An echo is for this thread alone.
        _ if message.is_some() => return text.as_deref() != Some(OVER),
        _ => {}
    }
    drop(shared);
    link.tell();
    true
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}
