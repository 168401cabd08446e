//! Which queue, as a URL, and what of a URL may be shown.
//!
//! Owns the schemes, and that no password reaches a message. Must never know which key a URL is for, or connect to anything.

use std::fmt;
use std::path::PathBuf;

/// Which queue, as a URL. As a text, also by way of `{:?}`, it holds no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum QueueUrl {
    /// `file:PATH`: the embedded queue, in one file.
    File(PathBuf),
    /// `redis:`, `redis+sentinel:` or `redis+cluster:`, with TLS `rediss...`, as written, with the passwords.
    Redis(String),
}

impl QueueUrl {
    /// Reads `file:PATH`, `file:///PATH` or the URL of a Redis.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("file:") {
            let path = match rest.strip_prefix("//") {
                Some(absolute) => Some(absolute).filter(|path| path.starts_with('/')),
                None => Some(rest).filter(|path| !path.is_empty()),
            };
            return Some(Self::File(path?.into()));
        }
        let (scheme, rest) = text.split_once("://")?;
        let (first, more) = scheme.split_once('+').unwrap_or((scheme, ""));
        let known = matches!(first, "redis" | "rediss")
            && (matches!(more, "sentinel" | "cluster") || first.len() == scheme.len());
        (known && !rest.is_empty()).then(|| Self::Redis(text.to_owned()))
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Redis(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Replaces the passwords, if any, of a URL `scheme://user:password@host?some_password=password`.
pub(super) fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // Whatever follows such a word is hidden, for a password may hold what otherwise ends it.
    let (rest, tail) = rest.split_at(rest.find("password=").unwrap_or(rest.len()));
    let hidden = if tail.is_empty() { "" } else { "password=***" };
    match (rest.rsplit_once('@'), rest.split_once(':')) {
        (Some((user, host)), Some((name, _))) if user.contains(':') => format!("{scheme}://{name}:***@{host}{hidden}"),
        // It cannot be told which of the two it is a part of.
        (None, Some((name, _))) if tail.contains('@') => format!("{scheme}://{name}:***"),
        _ => format!("{scheme}://{rest}{hidden}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Raw;

    #[test]
    fn a_queue_is_a_file_or_a_redis() {
        for (text, path) in [("file:a/b.redb", "a/b.redb"), ("file:/a", "/a"), ("file:///a", "/a")] {
            assert_eq!(QueueUrl::parse(text), Some(QueueUrl::File(path.into())), "{text}");
        }
        for text in [
            "redis://h:6379/0",
            "rediss://u:p@h",
            "redis+sentinel://h:1,i:2/main",
            "rediss+sentinel://h/main",
            "redis+cluster://h,i",
            "rediss+cluster://h",
        ] {
            assert_eq!(QueueUrl::parse(text), Some(QueueUrl::Redis(text.to_owned())), "{text}");
        }
        for text in [
            "",
            "file:",
            "file://",
            "file://host/path",
            "redis://",
            "redis+://h",
            "redis+unix://h",
            "http://h",
            "queue.redb",
        ] {
            assert_eq!(QueueUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let secret = "redis://me:s3cr@t@host:6379/0";
        for text in [Raw::Word(secret.to_owned()).to_string(), without_password(secret)] {
            assert!(!text.contains("s3cr") && text.contains("redis://me:***@host:6379/0"), "{text}");
        }
        let secret = "redis+sentinel://me:s3cret@a:1,b:2/main?sentinel_user=u&sentinel_password=s3cr@t";
        let shown = "redis+sentinel://me:***@a:1,b:2/main?sentinel_user=u&sentinel_password=***";
        assert_eq!(without_password(secret), shown);
        assert_eq!(
            without_password("redis+sentinel://a,b/main?password=s3cret"),
            "redis+sentinel://a,b/main?password=***"
        );
        assert_eq!(without_password("redis://me:s3cretpassword=s3cret@host"), "redis://me:***");
        assert_eq!(without_password("redis://me@host:6379"), "redis://me@host:6379");
        assert_eq!(without_password("redis://host:6379"), "redis://host:6379");
        assert_eq!(without_password("file:a@b:c"), "file:a@b:c");
    }
}
