//! A connection to the server, with a timeout for everything that is done with it.

use redis::{Client, Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind};

use super::address::Address;
use super::patience::Patience;
use super::request::SCRIPT;
use crate::engine::time::Time;

/// The script, and the keys of the limit that it is called for.
#[derive(Debug)]
pub(super) struct Script {
    hash: String,
    keys: [String; 4],
}

impl Script {
    pub(super) fn new(keys: [String; 4]) -> Self {
        let hash = redis::Script::new(SCRIPT).get_hash().to_owned();
        Self { hash, keys }
    }

    /// Where the limit's state and its holders are.
    pub(super) const fn limit(&self) -> (&String, &String) {
        (&self.keys[0], &self.keys[2])
    }
}

/// What the script has answered, and when it was called and has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) numbers: Vec<i64>,
    pub(super) sent: Time,
    pub(super) arrived: Time,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Others use these numbers.
    Numbers(String),
    Lost(String),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if error.code() == Some("NUMBERS") {
            return Self::Numbers(error.detail().unwrap_or_default().to_owned());
        }
        Self::Lost(in_words(&error))
    }
}

/// What an error of the server or the network means.
pub(super) fn in_words(error: &RedisError) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    error.to_string()
}

/// A connection.
pub(super) struct Line(Connection);

impl Line {
    pub(super) fn open(address: &Address, patience: Patience) -> Result<Self, String> {
        connect(address, patience)
            .map(Self)
            .map_err(|error| in_words(&error))
    }

    /// Calls the script; loads it if the server does not know it.
    pub(super) fn call(&mut self, script: &Script, with: &[String]) -> Result<Answer, Failure> {
        let sent = Time::now();
        let (result, sent) = match self.evaluate("EVALSHA", &script.hash, script, with) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let sent = Time::now();
                (self.evaluate("EVAL", SCRIPT, script, with), sent)
            }
            result => (result, sent),
        };
        let arrived = Time::now();
        Ok(Answer {
            numbers: result?,
            sent,
            arrived,
        })
    }

    fn evaluate(
        &mut self,
        command: &str,
        which: &str,
        script: &Script,
        with: &[String],
    ) -> RedisResult<Vec<i64>> {
        let mut command = redis::cmd(command);
        command.arg(which).arg(script.keys.len()).arg(&script.keys);
        command.arg(with).query(&mut self.0)
    }

    pub(super) const fn connection(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// A connection on which nothing is waited for longer than `patience`.
pub(super) fn connect(address: &Address, patience: Patience) -> RedisResult<Connection> {
    let client = Client::open(address.server().clone())?;
    let connection = client.get_connection_with_timeout(patience.connecting)?;
    connection.set_read_timeout(Some(patience.answering))?;
    connection.set_write_timeout(Some(patience.answering))?;
    Ok(connection)
}
