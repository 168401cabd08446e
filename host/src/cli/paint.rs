//! Colours of what people read. They are dropped where it is no terminal that shows them: whoever prints does so by way of
//! `anstream`, which honours `NO_COLOR` and `CLICOLOR_FORCE`.
//!
//! Owns which colour means what. Must never be the only bearer of a meaning: every word stands without it.

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const FAIR: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const HEAD: Style = Style::new().bold();

/// As it should be.
pub(super) fn good(text: &str) -> String {
    painted(GOOD, text)
}

/// Worth a look.
pub(super) fn fair(text: &str) -> String {
    painted(FAIR, text)
}

/// Not as it should be, or a no.
pub(super) fn bad(text: &str) -> String {
    painted(BAD, text)
}

/// A heading.
pub(super) fn head(text: &str) -> String {
    painted(HEAD, text)
}

/// How many columns a text takes, without its colours.
pub(super) fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(|part| part.chars().count()).sum()
}

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        let painted = [good, fair, bad, head].map(|paint| paint("ä word"));
        assert!(painted.iter().all(|text| text.len() > 10 && width(text) == 6), "{painted:?}");
    }
}
