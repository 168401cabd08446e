//! Section `nn`: what runs the models, where and how.
//!
//! Owns its keys, their defaults and bounds. Must never know where a value came from, or which devices this machine has.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::sections::{Field, SECOND, field};
use crate::config::value::{Count, Or, Raw, Span, Value, choose};

/// A task has so many photographs, which are analysed at the same time.
const PHOTOGRAPHS: usize = 2;

/// Section `nn`: what runs the models.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Nn {
    /// Which library.
    pub(crate) backend: Backend,
    /// The library's file.
    pub(crate) library: PathBuf,
    /// What `sessions` and `threads` are for, where they are not set.
    pub(crate) hint: Hint,
    /// How many inferences of one model run at once; `None`: as `hint` says.
    pub(crate) sessions: Option<usize>,
    /// How many threads one inference uses; `None`: as `hint` says.
    pub(crate) threads: Option<usize>,
    /// The processor, or a GPU.
    pub(crate) device: Device,
    /// How many rows of how many callers ever run together; `None`: the device decides.
    pub(crate) max_batch: Option<usize>,
    /// How long one caller waits for others.
    pub(crate) max_batch_delay: Duration,
}

/// An inference library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// For each model the one that was measured to be faster, of those that are there.
    Auto,
    /// ONNX Runtime.
    Onnx,
    /// OpenVINO, which set-up adds when it is asked to.
    OpenVino,
}

impl Value for &mut Backend {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        choose(*self, raw, &[("auto", Backend::Auto), ("onnx", Backend::Onnx), ("openvino", Backend::OpenVino)])
    }

    fn show(&self) -> String {
        match self {
            Backend::Auto => "auto",
            Backend::Onnx => "onnx",
            Backend::OpenVino => "openvino",
        }
        .to_owned()
    }
}

/// What the processors are shared out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The most tasks a second: independent inferences scale better than the parts of one.
    Throughput,
    /// The shortest time of a task that is alone: its two photographs at once, and all processors for them.
    Latency,
}

impl Value for &mut Hint {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        choose(*self, raw, &[("throughput", Hint::Throughput), ("latency", Hint::Latency)])
    }

    fn show(&self) -> String {
        match self {
            Hint::Throughput => "throughput",
            Hint::Latency => "latency",
        }
        .to_owned()
    }
}

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

impl Nn {
    /// How many inferences of one model run at once on so many processors.
    pub(crate) fn sessions(&self, processors: usize) -> usize {
        self.sessions.unwrap_or(match self.hint {
            Hint::Throughput => processors,
            Hint::Latency => processors.min(PHOTOGRAPHS),
        })
    }

    /// How many threads each of them uses.
    pub(crate) fn threads(&self, processors: usize) -> usize {
        self.threads.unwrap_or(match self.hint {
            Hint::Throughput => 1,
            Hint::Latency => (processors / self.sessions(processors)).max(1),
        })
    }

    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self {
            backend: Backend::Auto,
            library: PathBuf::new(),
            hint: Hint::Throughput,
            sessions: None,
            threads: None,
            device: Device::Cpu,
            max_batch: None,
            max_batch_delay: Duration::from_millis(2),
        }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            field("nn.backend", &mut self.backend),
            field("nn.library", &mut self.library),
            field("nn.hint", &mut self.hint),
            field(
                "nn.sessions",
                Or { word: "auto", value: &mut self.sessions, of: |it| Box::new(Count(it, 1..=1024)) },
            ),
            field("nn.threads", Or { word: "auto", value: &mut self.threads, of: |it| Box::new(Count(it, 1..=1024)) }),
            field("nn.device", &mut self.device),
            field("nn.max_batch", Rows(&mut self.max_batch)),
            field("nn.max_batch_delay", Span(&mut self.max_batch_delay, Duration::ZERO..=SECOND)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_shares_the_processors_out_and_numbers_overrule_it() {
        let shares = |hint, sessions, threads| {
            let nn = Nn { hint, sessions, threads, ..Nn::defaults() };
            [1, 2, 3, 16].map(|processors| (nn.sessions(processors), nn.threads(processors)))
        };
        assert_eq!(shares(Hint::Throughput, None, None), [(1, 1), (2, 1), (3, 1), (16, 1)]);
        assert_eq!(shares(Hint::Latency, None, None), [(1, 1), (2, 1), (2, 1), (2, 8)]);
        assert_eq!(shares(Hint::Latency, Some(4), None), [(4, 1), (4, 1), (4, 1), (4, 4)]);
        assert_eq!(shares(Hint::Latency, None, Some(3)), [(1, 3), (2, 3), (2, 3), (2, 3)]);
        assert_eq!(shares(Hint::Throughput, Some(5), Some(6)), [(5, 6); 4]);
    }

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
