//! Section `components`: the four components, how they are deployed, and what each may use.
//!
//! Owns its keys, their defaults and bounds. Must never know where a value came from.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::sections::{Field, GIB, HOUR, MIB, field};
use crate::config::value::{Count, Factor, List, Size, Span};

/// Section `components`: the four components and what each may use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Components {
    /// The folder for compiled code, to start faster the next time. Only this host's user may write in it.
    pub(crate) cache: PathBuf,
    /// The folder that keeps what was deployed while the host ran.
    pub(crate) store: PathBuf,
    /// The folder of photographs that a new analyzer must see as the one before it did.
    pub(crate) probes: PathBuf,
    /// The folder in which components and bundles are left to be deployed; `None`: there is none.
    pub(crate) watch: Option<PathBuf>,
    /// After so many tasks, or requests for a gateway, a canary takes over.
    pub(crate) canary_tasks: u32,
    /// How many of them may fail where the generation that serves does not.
    pub(crate) canary_failures: u32,
    /// How many times as long as with the generation that serves they may take, by the medians.
    pub(crate) canary_slowdown: f64,
    /// Whose signatures are accepted: minisign's public keys, or paths of files that hold one. When there are some, nothing
    /// is deployed without a signature.
    pub(crate) trusted_keys: Vec<String>,
    /// Reads requests and answers them.
    pub(crate) gateway: Component,
    /// Finds and describes the faces of one photograph.
    pub(crate) analyzer: Component,
    /// Decides.
    pub(crate) scorer: Component,
    /// Draws what was seen; only `visavis verify --annotate` uses it.
    pub(crate) annotator: Component,
}

/// One of the subsections of `components`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Component {
    /// The component's file.
    pub(crate) path: PathBuf,
    /// The most memory that one instance may have, bytes.
    pub(crate) memory_limit: usize,
    /// How long one call may take; then it is interrupted. For a gateway only its own computing counts, not its waits.
    pub(crate) deadline: Duration,
}

impl Components {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self {
            cache: PathBuf::new(),
            store: PathBuf::new(),
            probes: PathBuf::new(),
            watch: None,
            canary_tasks: 50,
            canary_failures: 0,
            canary_slowdown: 2.0,
            trusted_keys: Vec::new(),
            gateway: Component::new(256, Duration::from_secs(5)),
            analyzer: Component::new(512, Duration::from_secs(20)),
            scorer: Component::new(64, Duration::from_secs(2)),
            annotator: Component::new(512, Duration::from_secs(20)),
        }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        let mut fields = vec![
            field("components.cache", &mut self.cache),
            field("components.store", &mut self.store),
            field("components.probes", &mut self.probes),
            field("components.watch", &mut self.watch),
            field("components.canary_tasks", Count(&mut self.canary_tasks, 1..=1_000_000)),
            field("components.canary_failures", Count(&mut self.canary_failures, 0..=1_000_000)),
            field("components.canary_slowdown", Factor(&mut self.canary_slowdown, 1.0..=1000.0)),
            field(
                "components.trusted_keys",
                List { value: &mut self.trusted_keys, of: "minisign's public keys, or of paths of .pub files" },
            ),
        ];
        for (name, component) in [
            ("gateway", &mut self.gateway),
            ("analyzer", &mut self.analyzer),
            ("scorer", &mut self.scorer),
            ("annotator", &mut self.annotator),
        ] {
            let Component { path, memory_limit, deadline } = component;
            fields.extend([
                field(format!("components.{name}.path"), path),
                field(format!("components.{name}.memory_limit"), Size(memory_limit, MIB..=4 * GIB)),
                field(format!("components.{name}.deadline"), Span(deadline, Duration::from_millis(10)..=HOUR)),
            ]);
        }
        fields
    }
}

impl Component {
    fn new(mebibytes: usize, deadline: Duration) -> Self {
        Self { path: PathBuf::new(), memory_limit: mebibytes << 20, deadline }
    }
}
