//! Where a limit is kept: a server, and the name of the limit there.

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

const LONGEST_NAME: usize = 200;

/// A server and the name of a limit there.
#[derive(Debug, Clone)]
pub(super) struct Address {
    server: ConnectionInfo,
    name: String,
    /// As it was written, without the password.
    shown: String,
}

impl Address {
    /// From `redis://user:password@host:6379/0#name`, with `rediss` for TLS and `redis+unix` for the
    /// path of a socket.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (server, name) = text.split_once('#').unwrap_or((text, ""));
        let shown = without_password(text);
        if name.is_empty() {
            return Err(format!(
                "{shown} does not say which limit is meant: put its name behind a #, as in \
                 {}#name",
                without_password(server)
            ));
        }
        if name.len() > LONGEST_NAME || name.contains(['{', '}', '#']) || name.contains(is_blank) {
            return Err(format!(
                "the name of a limit has at most {LONGEST_NAME} bytes, no blanks and none of {{}}#, \
                 unlike {name:?}"
            ));
        }
        let server = server
            .into_connection_info()
            .map_err(|error| format!("{shown} is no address of a server: {error}"))?;
        let login = server.redis_settings().clone();
        let login: RedisConnectionInfo = login
            .set_protocol(ProtocolVersion::RESP2)
            .set_lib_name("paceline", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            server: server.set_redis_settings(login),
            name: name.to_owned(),
            shown,
        })
    }

    pub(super) const fn server(&self) -> &ConnectionInfo {
        &self.server
    }

    /// As it was written, without the password.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The server, the database and the limit, whoever logs in.
    pub(super) fn place(&self) -> String {
        let database = self.server.redis_settings().db();
        let server = self.server.addr().to_string().to_lowercase();
        let server = server.replace("localhost:", "127.0.0.1:");
        format!("{server}/{database}#{}", self.name)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A key of this limit. All of them are in one slot of a cluster.
    pub(super) fn key(&self, what: &str) -> String {
        format!("paceline:{{{}}}:{what}", self.name)
    }
}

const fn is_blank(it: char) -> bool {
    it.is_ascii_whitespace() || it.is_ascii_control()
}

/// An address as it is shown.
#[must_use]
pub fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = match rest.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some(("", _)) => place.to_owned(),
            Some((user, _)) => format!("{user}@{place}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let rest = match rest.split_once("pass=") {
        Some((before, after)) => {
            let after = after.split_once(['&', '#']).map_or(String::new(), |it| {
                let mark = after.as_bytes()[it.0.len()] as char;
                format!("{mark}{}", it.1)
            });
            format!("{before}pass=***{after}")
        }
        None => rest,
    };
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_server_and_a_name() {
        for (text, server, name) in [
            ("redis://cache:6379/0#descope", "cache:6379", "descope"),
            ("redis://cache#a:b/c", "cache:6379", "a:b/c"),
            (
                "redis+unix:///run/redis.sock?db=3#x",
                "/run/redis.sock",
                "x",
            ),
        ] {
            let address = Address::parse(text);
            let found = address.map(|it| (it.server.addr().to_string(), it.name));
            assert_eq!(found, Ok((server.to_owned(), name.to_owned())));
        }
    }

    #[test]
    fn it_is_shown_without_the_password() {
        for (text, shown) in [
            ("redis://:secret@cache/0#x", "redis://cache/0#x"),
            ("rediss://me:sec@ret@cache/0#x", "rediss://me@cache/0#x"),
            (
                "redis+unix:///s.sock?db=1&pass=secret&user=me#x",
                "redis+unix:///s.sock?db=1&pass=***&user=me#x",
            ),
            (
                "redis+unix:///s.sock?pass=secret#x",
                "redis+unix:///s.sock?pass=***#x",
            ),
        ] {
            assert_eq!(without_password(text), shown);
            let address = Address::parse(text).map(|it| it.shown);
            assert_eq!(address, Ok(shown.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_words() {
        for (text, words) in [
            (
                "redis://:secret@cache/0",
                "put its name behind a #, as in redis://cache/0#name",
            ),
            ("redis://cache#", "put its name"),
            ("redis://cache#a{b}", "none of {}#"),
            ("redis://cache#a b", "no blanks"),
            ("redis://cache/x#a", "redis://cache/x#a is no address"),
            ("http://cache#a", "http://cache#a is no address"),
        ] {
            let refusal = Address::parse(text).map_or_else(|error| error, |it| it.name);
            assert!(
                refusal.contains(words),
                "{refusal:?} does not say {words:?}"
            );
            assert!(!refusal.contains("secret"), "{refusal:?}");
        }
    }
}
