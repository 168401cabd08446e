//! Any text as an address that a client leaves.
//!
//! Owns what must hold of the host's reader: nothing panics, what is taken is listed, is written again as the same, and brings no
//! line end into a request. Must never know who makes the text.

use crate::webhook::check;

/// The list, and which hosts and ports are meant.
const LIST: [(&str, &str, u16); 4] = [
    ("hooks.example.org", "hooks.example.org", 443),
    ("http://hooks.example.org", "hooks.example.org", 80),
    ("10.0.0.5:8443", "10.0.0.5", 8443),
    ("http://[2001:db8::1]:8080", "2001:db8::1", 8080),
];

/// The longest sentence that anybody gets to read, bytes. The operator reads an entry of the list again as it was written.
const LONGEST: usize = 500;

/// Holds a text against the list, and takes it for a list.
pub(crate) fn callback(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let list = LIST.map(|(entry, _, _)| entry.to_owned());
    match check(&list, &text) {
        Ok((origin, host, port, path, authority)) => {
            assert!(LIST.iter().any(|(_, known, at)| *known == host && *at == port), "{host} {port}");
            assert!(path.starts_with('/') && path.bytes().all(|byte| byte > 0x20 && byte != 0x7F), "{path:?}");
            assert!(origin.ends_with(&format!("://{authority}")), "{origin} {authority}");
            let again = check(&list, &format!("{origin}{path}"));
            assert_eq!(again, Ok((origin, host, port, path, authority)));
        }
        Err(text) => assert!(text.len() <= LONGEST, "{text}"),
    }
    if let Ok((_, host, ..)) = check(&[text.clone().into_owned()], &format!("https://{text}/")) {
        assert!(text.to_ascii_lowercase().contains(&host) || host.contains(':'), "{host} out of {text:?}");
    }
}
