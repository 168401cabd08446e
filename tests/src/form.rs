//! Multipart bodies, as honest clients write them.

use crate::photos::photo;

/// A `multipart/form-data` body under construction.
#[derive(Clone, Debug, Default)]
pub struct Form {
    parts: Vec<u8>,
}

/// The boundary of every form; no photograph holds it.
pub const BOUNDARY: &str = "visavis-test-7c1b2f";

impl Form {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Two files, `image1` and `image2`.
    pub fn pair(first: &[u8], second: &[u8]) -> Self {
        Self::new().file("image1", first).file("image2", second)
    }

    /// Two of the sample photographs.
    pub fn photos(first: &str, second: &str) -> Self {
        Self::pair(&photo(first), &photo(second))
    }

    /// Adds a file without saying what it is.
    #[must_use]
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.part(&format!("name=\"{name}\"; filename=\"{name}.bin\""), Some("application/octet-stream"), content)
    }

    /// Adds a text field.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.part(&format!("name=\"{name}\""), None, value.as_bytes())
    }

    /// Adds a part with any parameters of its disposition and any type.
    #[must_use]
    pub fn part(mut self, parameters: &str, content_type: Option<&str>, content: &[u8]) -> Self {
        self.parts.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {parameters}\r\n").as_bytes());
        if let Some(content_type) = content_type {
            self.parts.extend(format!("Content-Type: {content_type}\r\n").as_bytes());
        }
        self.parts.extend(b"\r\n");
        self.parts.extend(content);
        self.parts.extend(b"\r\n");
        self
    }

    /// The header that goes with it.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.parts.clone();
        body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
        body
    }
}
