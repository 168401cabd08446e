//! Section `telemetry`: what the host says about itself.
//!
//! Owns its keys. Must never know where a value came from; the defaults are the telemetry's own.

use crate::config::sections::{Field, field};
use crate::config::value::{Listener, Raw, Value, choose};
use crate::telemetry::{Config, Filter, Format};

impl Value for &mut Filter {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let filter = raw.text().and_then(|text| text.parse().ok());
        **self = filter.ok_or(
            "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a list, as \"info,visavis::worker=debug\"",
        )?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for &mut Format {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        choose(*self, raw, &[("auto", Format::Auto), ("pretty", Format::Pretty), ("json", Format::Json)])
    }

    fn show(&self) -> String {
        match self {
            Format::Auto => "auto",
            Format::Pretty => "pretty",
            Format::Json => "json",
        }
        .to_owned()
    }
}

/// Its keys, with the place of each value.
pub(super) fn fields(telemetry: &mut Config) -> Vec<Field<'_>> {
    vec![
        field("telemetry.log", &mut telemetry.log),
        field("telemetry.format", &mut telemetry.format),
        field("telemetry.metrics", Listener(&mut telemetry.metrics)),
    ]
}
