//! What is said to the script on the server, and what it answers.

use std::time::Duration;

use super::held::Permit;

/// The script.
pub(super) const SCRIPT: &str = include_str!("grant.lua");

/// Permits to be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) count: u32,
    pub(super) weight: u64,
    /// The server's time.
    pub(super) not_before: i64,
    /// So many of them whenever it is, the rest only if they may be taken at once.
    pub(super) firm: u32,
}

impl Permit {
    /// Its name in the set of permits.
    pub(super) fn name(self) -> String {
        format!("{}:{}", self.number, self.weight)
    }
}

/// What a request says. Times are microseconds of the server's clock.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools)] // each is another thing said
pub(super) struct Message<'a> {
    pub(super) number: u64,
    pub(super) holder: &'a str,
    pub(super) channel: &'a str,
    pub(super) numbers: String,
    pub(super) limit: u64,
    pub(super) burst: u64,
    pub(super) interval: Duration,
    /// Microseconds.
    pub(super) stays: u64,
    pub(super) generation: i64,
    pub(super) highest: i64,
    /// Microseconds.
    pub(super) age: u64,
    pub(super) holds: bool,
    pub(super) has_moved: bool,
    pub(super) pause: i64,
    pub(super) want: Option<Want>,
    pub(super) ask: u64,
    pub(super) echo: bool,
    pub(super) who: String,
    pub(super) changes: bool,
    pub(super) has_cut: bool,
    pub(super) returned: Vec<Permit>,
    /// Names of permits, and when they leave.
    pub(super) leaves: Vec<(String, i64)>,
}

impl Message<'_> {
    /// As the script takes it.
    pub(super) fn arguments(&self) -> Vec<String> {
        let none = Want {
            count: 0,
            weight: 1,
            not_before: 0,
            firm: 0,
        };
        let want = self.want.unwrap_or(none);
        let flag = |it| u8::from(it).to_string();
        let interval = self.interval.as_nanos();
        let mut arguments = vec![
            self.number.to_string(),
            self.holder.to_owned(),
            self.channel.to_owned(),
            self.numbers.clone(),
            self.limit.to_string(),
            self.burst.to_string(),
            format!("{}.{:03}", interval / 1000, interval % 1000),
            self.stays.to_string(),
            self.generation.to_string(),
            self.highest.to_string(),
            self.age.to_string(),
            flag(self.holds),
            flag(self.has_moved),
            self.pause.to_string(),
            want.count.to_string(),
            want.weight.to_string(),
            want.not_before.to_string(),
            want.firm.to_string(),
            self.ask.to_string(),
            flag(self.echo),
            self.who.clone(),
            flag(self.changes),
            flag(self.has_cut),
            self.returned.len().to_string(),
        ];
        arguments.extend(self.returned.iter().map(|permit| permit.name()));
        for (name, time) in &self.leaves {
            arguments.push(name.clone());
            arguments.push(time.to_string());
        }
        arguments
    }
}

/// What the script answers. Times are microseconds of the server's clock.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) now: i64,
    pub(super) generation: i64,
    pub(super) last: i64,
    pub(super) paused: i64,
    pub(super) closed: i64,
    pub(super) answer: i64,
    /// Numbers of permits and their times.
    pub(super) granted: Vec<(i64, i64)>,
}

impl Reply {
    pub(super) fn parse(numbers: &[i64]) -> Result<Self, String> {
        let (head, granted) = numbers
            .split_first_chunk()
            .ok_or_else(|| format!("the script on the server answered {numbers:?}"))?;
        let &[now, generation, last, paused, closed, answer] = head;
        let (granted, _) = granted.as_chunks();
        Ok(Self {
            now,
            generation,
            last,
            paused,
            closed,
            answer,
            granted: granted.iter().map(|&[number, at]| (number, at)).collect(),
        })
    }
}
