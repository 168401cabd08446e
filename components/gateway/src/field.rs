//! Header values with parameters: `Content-Type` and `Content-Disposition`.
//!
//! Owns their grammar (RFC 9110, section 5.6.6). Must never know which headers there are or what they mean.

/// A header value as `multipart/form-data; boundary=x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What stands before the first semicolon, in lower case: a media type or a disposition.
    pub essence: String,
    parameters: Vec<(String, String)>,
}

/// A header with more parameters than this has no honest sender.
const MOST_PARAMETERS: usize = 16;

impl Value {
    /// Parses one header value. `None` when it is malformed, has too many parameters or one of them twice.
    pub fn parse(text: &str) -> Option<Self> {
        let (essence, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let essence = essence.trim_matches(BLANK);
        if essence.is_empty() || !essence.split('/').all(is_token) {
            return None;
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        while let Some(next) = rest.strip_prefix(';') {
            rest = next.trim_start_matches(BLANK);
            if rest.is_empty() || rest.starts_with(';') {
                continue;
            }
            let (name, after) = rest.split_once('=')?;
            let name = name.to_ascii_lowercase();
            if !is_token(&name) || parameters.len() == MOST_PARAMETERS || parameters.iter().any(|(n, _)| *n == name) {
                return None;
            }
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let (value, after) = after.split_at(after.find(';').unwrap_or(after.len()));
                    let value = value.trim_end_matches(BLANK);
                    if !is_token(value) {
                        return None;
                    }
                    (value.to_owned(), after)
                }
            };
            parameters.push((name, value));
            rest = after.trim_start_matches(BLANK);
        }
        rest.is_empty().then(|| Self { essence: essence.to_ascii_lowercase(), parameters })
    }

    /// The value of a parameter, by its name in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

const BLANK: [char; 2] = [' ', '\t'];

/// Whether a text is a token of RFC 9110: one or more characters that are not separators.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Reads up to the closing quote; answers the value and what follows the quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            // Only a quote or a backslash is escaped; elsewhere old browsers mean the backslash of a Windows path.
            '\\' => match text[at + 1..].chars().next() {
                Some(escaped @ ('"' | '\\')) => {
                    value.push(escaped);
                    characters.next();
                }
                _ => value.push('\\'),
            },
            c if c.is_control() && c != '\t' => return None,
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_parameters_are_read() {
        let value = Value::parse("Multipart/Form-Data ; Boundary=abc;charset=\"utf-8\"; ").unwrap();
        assert_eq!(value.essence, "multipart/form-data");
        assert_eq!(value.parameter("boundary"), Some("abc"));
        assert_eq!(value.parameter("charset"), Some("utf-8"));
        assert_eq!(value.parameter("x"), None);
    }

    #[test]
    fn quoted_values_keep_separators_and_escapes() {
        let value = Value::parse(r#"form-data; name="a;b=\"c\""; filename="C:\dir\é.jpg""#).unwrap();
        assert_eq!(value.parameter("name"), Some(r#"a;b="c""#));
        assert_eq!(value.parameter("filename"), Some(r"C:\dir\é.jpg"));
    }

    #[test]
    fn malformed_values_are_none() {
        for text in ["", ";", "a b", "a; b", "a; =c", "a; b=\"c", "a; b=c d", "a; b=1; B=2", "a; b=\"c\" d", "a/", "é"]
        {
            assert_eq!(Value::parse(text), None, "{text}");
        }
        assert_eq!(Value::parse(&format!("a{}", "; x=y".repeat(20))), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,64}") {
            let _ = Value::parse(&text);
        }

        #[test]
        fn quoting_round_trips(text in "[ -~]{0,32}") {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let value = Value::parse(&format!("form-data; name=\"{quoted}\"")).unwrap();
            prop_assert_eq!(value.parameter("name"), Some(text.as_str()));
        }
    }
}
