//! Settings of where and how the models run.
//!
//! Owns the devices by their names, and the number of rows that the device decides. Must never know which devices this machine has.

use crate::config::value::{Count, Raw, Value, choose};

/// What the models run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The processor.
    Cpu,
    /// A GPU; without one nothing starts.
    Gpu,
    /// A GPU where there is one that works, else the processor.
    Auto,
}

impl Value for &mut Device {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        choose(*self, raw, &[("cpu", Device::Cpu), ("gpu", Device::Gpu), ("auto", Device::Auto)])
    }

    fn show(&self) -> String {
        match self {
            Device::Cpu => "cpu",
            Device::Gpu => "gpu",
            Device::Auto => "auto",
        }
        .to_owned()
    }
}

/// A number of rows, or nothing: then the device decides.
pub(crate) struct Rows<'a>(pub(crate) &'a mut Option<usize>);

impl Value for Rows<'_> {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        let mut rows = 0;
        Count(&mut rows, 1..=4096).read(raw)?;
        *self.0 = Some(rows);
        Ok(())
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "32 on a GPU, else 1".to_owned(), |rows| rows.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names_and_rows_have_bounds() {
        let mut device = Device::Cpu;
        for (name, expected) in [("gpu", Device::Gpu), ("auto", Device::Auto), ("cpu", Device::Cpu)] {
            let mut value = &mut device;
            value.read(&Raw::Text(name.to_owned())).unwrap();
            assert_eq!(value.show(), name);
            assert_eq!(device, expected);
        }
        let refusal = (&mut device).read(&Raw::Text("cuda".to_owned())).unwrap_err();
        assert_eq!(refusal, "\"cpu\" or \"gpu\" or \"auto\"");
        let mut rows = None;
        assert_eq!(Rows(&mut rows).show(), "32 on a GPU, else 1");
        assert!(Rows(&mut rows).read(&Raw::Integer(0)).is_err());
        Rows(&mut rows).read(&Raw::Integer(8)).unwrap();
        assert_eq!(rows, Some(8));
    }
}
