//! Single values: how each kind is read from a text or from TOML, what it accepts, and how it is shown.
//!
//! Owns which texts stand for an address, a count, a choice. Must never know which keys exist or where a value came from.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::config::queue_url::{QueueUrl, without_password};
use crate::config::units::{parse_duration, parse_size, show_duration, show_size};

/// A value as it was found, before its key says what it must be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// From the environment or a flag: a text that may stand for anything.
    Word(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML float.
    Float(f64),
    /// A TOML array of strings.
    List(Vec<String>),
    /// A TOML value that no key accepts; holds how to call it.
    Other(&'static str),
}

impl Raw {
    /// As a text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Word(text) => text.trim().parse().ok(),
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    fn whole(&self) -> Option<u64> {
        match self {
            Self::Word(text) => text.trim().parse().ok(),
            Self::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

// For error messages: a password in a URL stays out of them.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Text(text) => write!(f, "\"{}\"", without_password(text)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::List(texts) => f.debug_list().entries(texts.iter().map(|text| without_password(text))).finish(),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Something that a key sets.
pub(crate) trait Value {
    /// Takes the value over, or says what would be accepted, as the end of the sentence "accepted is ...".
    fn read(&mut self, raw: &Raw) -> Result<(), String>;

    /// The value as it could be written in the file, without the quotation marks.
    fn show(&self) -> String;
}

/// A whole number within bounds.
pub(crate) struct Count<'a, T>(pub(crate) &'a mut T, pub(crate) RangeInclusive<u64>);

impl<T: Copy + TryFrom<u64> + fmt::Display> Value for Count<'_, T> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let value = raw.whole().filter(|number| self.1.contains(number)).and_then(|number| T::try_from(number).ok());
        *self.0 = value.ok_or_else(|| format!("a whole number from {} to {}", self.1.start(), self.1.end()))?;
        Ok(())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A number of bytes within bounds.
pub(crate) struct Size<'a, T>(pub(crate) &'a mut T, pub(crate) RangeInclusive<u64>);

impl<T: Copy + TryFrom<u64> + TryInto<u64>> Value for Size<'_, T> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let bytes = raw.whole().or_else(|| parse_size(raw.text()?));
        let value = bytes.filter(|bytes| self.1.contains(bytes)).and_then(|bytes| T::try_from(bytes).ok());
        *self.0 = value.ok_or_else(|| {
            format!(
                "a size from {} to {}, as \"20MiB\" or \"64 MB\", or a number of bytes",
                show_size(*self.1.start()),
                show_size(*self.1.end())
            )
        })?;
        Ok(())
    }

    fn show(&self) -> String {
        (*self.0).try_into().map(show_size).unwrap_or_default()
    }
}

/// A duration within bounds.
pub(crate) struct Span<'a>(pub(crate) &'a mut Duration, pub(crate) RangeInclusive<Duration>);

impl Value for Span<'_> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let seconds = raw.number().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let value = seconds.or_else(|| parse_duration(raw.text()?)).filter(|duration| self.1.contains(duration));
        *self.0 = value.ok_or_else(|| {
            format!(
                "a duration from {} to {}, as \"500ms\", \"30s\", \"15m\" or \"1h\", or a number of seconds",
                show_duration(*self.1.start()),
                show_duration(*self.1.end())
            )
        })?;
        Ok(())
    }

    fn show(&self) -> String {
        show_duration(*self.0)
    }
}

/// A value, or a word that stands for none.
pub(crate) struct Or<'a, T> {
    pub(crate) word: &'static str,
    pub(crate) value: &'a mut Option<T>,
    pub(crate) of: fn(&mut T) -> Box<dyn Value + '_>,
}

impl<T: Copy + Default> Value for Or<'_, T> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let mut value = T::default();
        *self.value = if raw.text().is_some_and(|text| text.trim() == self.word) {
            None
        } else {
            (self.of)(&mut value).read(raw).map_err(|accepted| format!("{accepted}, or \"{}\"", self.word))?;
            Some(value)
        };
        Ok(())
    }

    fn show(&self) -> String {
        self.value.map_or_else(|| self.word.to_owned(), |mut value| (self.of)(&mut value).show())
    }
}

/// A number within bounds, or nothing; `absent` says what nothing means.
pub(crate) struct Optional<'a> {
    pub(crate) value: &'a mut Option<f32>,
    pub(crate) bounds: RangeInclusive<f32>,
    pub(crate) absent: &'static str,
}

impl Value for Optional<'_> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let number = raw.number().map(|number| number as f32).filter(|number| self.bounds.contains(number));
        let refusal = || format!("a number from {} to {}", self.bounds.start(), self.bounds.end());
        *self.value = Some(number.ok_or_else(refusal)?);
        Ok(())
    }

    fn show(&self) -> String {
        self.value.map_or_else(|| self.absent.to_owned(), |number| number.to_string())
    }
}

/// A factor within bounds.
pub(crate) struct Factor<'a>(pub(crate) &'a mut f64, pub(crate) RangeInclusive<f64>);

impl Value for Factor<'_> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let number = raw.number().filter(|number| self.1.contains(number));
        *self.0 = number.ok_or_else(|| format!("a number from {} to {}", self.1.start(), self.1.end()))?;
        Ok(())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// An address, or none.
pub(crate) struct Listener<'a>(pub(crate) &'a mut Option<SocketAddr>);

impl Value for Listener<'_> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let accepted = "an IP address and a port, as \"127.0.0.1:8081\" or \"[::1]:8081\", or \"off\"";
        let text = raw.text().map(str::trim).ok_or(accepted)?;
        *self.0 = if text == "off" { None } else { Some(text.parse().map_err(|_| accepted)?) };
        Ok(())
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

/// Any number of texts: a TOML array or, in the environment, a text with commas between them. `of` says what they are.
pub(crate) struct List<'a> {
    pub(crate) value: &'a mut Vec<String>,
    pub(crate) of: &'static str,
}

impl Value for List<'_> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let texts: Option<Vec<_>> = match raw {
            Raw::List(texts) => Some(texts.clone()),
            Raw::Word(text) => Some(text.split(',').map(|text| text.trim().to_owned()).collect()),
            _ => None,
        };
        let texts = texts.filter(|texts| texts.iter().all(|text| !text.is_empty()));
        let refusal = || format!("a list of {}: [\"A\", \"B\"], or A,B in the environment", self.of);
        *self.value = texts.ok_or_else(refusal)?;
        Ok(())
    }

    fn show(&self) -> String {
        format!("[{}]", self.value.join(", "))
    }
}

/// A whole number within bounds, or nothing, which is no limit.
pub(crate) struct Limit<'a>(pub(crate) &'a mut Option<u64>, pub(crate) RangeInclusive<u64>);

impl Value for Limit<'_> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let mut number = 0;
        Count(&mut number, self.1.clone()).read(raw)?;
        *self.0 = Some(number);
        Ok(())
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "no limit".to_owned(), |number| number.to_string())
    }
}

impl Value for &mut Option<HeaderName> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let name = raw.text().and_then(|text| text.trim().parse().ok());
        **self = Some(name.ok_or("the name of a header, as \"X-Forwarded-For\"")?);
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map_or("none", HeaderName::as_str).to_owned()
    }
}

impl Value for &mut SocketAddr {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let address = raw.text().and_then(|text| text.trim().parse().ok());
        **self = address.ok_or("an IP address and a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"")?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for &mut PathBuf {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        **self = raw.text().filter(|text| !text.is_empty()).ok_or("a path")?.into();
        Ok(())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for &mut String {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        **self = raw.text().filter(|text| !text.is_empty()).ok_or("a name")?.to_owned();
        Ok(())
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Value for &mut Option<PathBuf> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        **self = Some(raw.text().filter(|text| !text.is_empty()).ok_or("a path")?.into());
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    }
}

impl Value for &mut Option<String> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        **self = Some(raw.text().filter(|text| !text.is_empty()).ok_or("a name")?.to_owned());
        Ok(())
    }

    fn show(&self) -> String {
        self.as_deref().unwrap_or("none").to_owned()
    }
}

impl Value for &mut QueueUrl {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let url = raw.text().and_then(QueueUrl::parse);
        **self = url.ok_or(
            "\"file:PATH\" for the embedded queue, or the URL of a Redis, as \"redis://HOST:6379\", \
             \"redis+sentinel://HOST:26379/NAME\" or \"redis+cluster://HOST:7000\"",
        )?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Reads one of a few names.
pub(super) fn choose<T: Copy>(value: &mut T, raw: &Raw, choices: &[(&str, T)]) -> Result<(), String> {
    let found = raw.text().and_then(|text| choices.iter().find(|(name, _)| *name == text));
    let names = || choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    *value = found.ok_or_else(names)?.1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(raw: &Raw) -> Option<Duration> {
        let mut value = Duration::ZERO;
        Span(&mut value, Duration::ZERO..=Duration::from_secs(3600)).read(raw).ok().map(|()| value)
    }

    #[test]
    fn a_plain_number_is_seconds() {
        assert_eq!(span(&Raw::Integer(7)), Some(Duration::from_secs(7)));
        assert_eq!(span(&Raw::Float(0.5)), Some(Duration::from_millis(500)));
        assert_eq!(span(&Raw::Word("30".to_owned())), Some(Duration::from_secs(30)));
        assert_eq!(span(&Raw::Text("2m".to_owned())), Some(Duration::from_secs(120)));
        let text = |text: &str| Raw::Word(text.to_owned());
        let refused = [Raw::Integer(-1), Raw::Float(f64::NAN), Raw::Other("true"), Raw::Text("30".to_owned())];
        for raw in refused.into_iter().chain(["-1", "NaN", "inf", "1e999", "2h"].map(text)) {
            assert_eq!(span(&raw), None, "{raw:?}");
        }
    }

    #[test]
    fn a_plain_number_is_bytes() {
        let mut bytes = 0_u64;
        assert_eq!(Size(&mut bytes, 0..=1 << 20).read(&Raw::Integer(4096)), Ok(()));
        assert_eq!(bytes, 4096);
        for raw in
            [Raw::Integer((1 << 20) + 1), Raw::Float(1.0), Raw::Text("4096".to_owned()), Raw::Word("-1".to_owned())]
        {
            assert!(Size(&mut bytes, 0..=1 << 20).read(&raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn a_list_is_an_array_or_has_commas() {
        let mut texts = Vec::new();
        let mut read = |raw: &Raw| List { value: &mut texts, of: "keys" }.read(raw).map(|()| texts.clone());
        assert_eq!(read(&Raw::Word("a, b/c".to_owned())), Ok(vec!["a".to_owned(), "b/c".to_owned()]));
        assert_eq!(read(&Raw::List(vec!["a,b".to_owned()])), Ok(vec!["a,b".to_owned()]));
        assert_eq!(read(&Raw::List(Vec::new())), Ok(Vec::new()));
        let refused = [Raw::Text("a".to_owned()), Raw::List(vec![String::new()]), Raw::Word("a,".to_owned())];
        for raw in refused.into_iter().chain([Raw::Integer(1), Raw::Other("true")]) {
            assert!(read(&raw).is_err_and(|accepted| accepted.starts_with("a list of keys")), "{raw:?}");
        }
    }

    #[test]
    fn numbers_in_a_file_are_no_strings() {
        let mut count = 0_usize;
        assert!(Count(&mut count, 1..=64).read(&Raw::Text("12".to_owned())).is_err());
        assert_eq!(Count(&mut count, 1..=64).read(&Raw::Integer(12)), Ok(()));
        assert_eq!(count, 12);
        assert_eq!(Count(&mut count, 1..=64).read(&Raw::Integer(65)), Err("a whole number from 1 to 64".to_owned()));
    }
}
