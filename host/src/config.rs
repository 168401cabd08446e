//! The configuration, and the only reader of files and environment for it.
//!
//! Owns the order of the layers: defaults, then `visavis.toml`, then the environment, then the flags of the command
//! line; and the rule that nothing is ignored: an unknown key or an unusable value is an error that names the key, where
//! it stands and what would be right. Must never know what a room does with a value.
//!
//! # Layout
//!
//! - `sections`: which keys there are, with their defaults and bounds.
//! - `value`: how one value is read, and what is accepted.
//! - `units`: durations and sizes.
//! - `queue_url`: which queue, as a URL.
//! - `layers`: the file, the environment and the flags.
//! - `processors`: how many processors this process may use.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

mod layers;
mod processors;
mod queue_url;
mod sections;
mod units;
mod value;

pub(crate) use layers::{Override, Source};
pub(crate) use processors::Processors;
pub(crate) use queue_url::QueueUrl;
pub(crate) use sections::{
    Access, Auth, Backend, Component, Components, Device, Models, Nn, Queue, Role, Server, Verify, Webhooks, Worker,
};
pub(crate) use units::parse_duration;

use crate::telemetry;

/// Where set-up puts OpenVINO among the assets.
pub(crate) const OPENVINO: &str = "lib/openvino/libopenvino_c.so";

/// Everything that can be configured. Relative paths are taken from the working folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The folder of what set-up makes: `components/`, `models/`, `lib/`.
    pub(crate) assets: PathBuf,
    /// The public listener.
    pub(crate) server: Server,
    /// Who may ask.
    pub(crate) auth: Auth,
    /// Where tasks wait.
    pub(crate) queue: Queue,
    /// How tasks are done.
    pub(crate) worker: Worker,
    /// The components and their limits.
    pub(crate) components: Components,
    /// What runs the models.
    pub(crate) nn: Nn,
    /// Which models are used.
    pub(crate) models: Models,
    /// The policy of a verification.
    pub(crate) verify: Verify,
    /// Whom the ends of tasks are told to.
    pub(crate) webhooks: Webhooks,
    /// The log.
    pub(crate) telemetry: telemetry::Config,
    /// The processors of this process, which `auto` stands for.
    pub(crate) processors: Processors,
    sources: BTreeMap<String, Source>,
}

/// What configuration depends on outside its own files: passed in, so that tests need no global state.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The working folder, where `visavis.toml` and `.env` are looked for.
    pub(crate) folder: PathBuf,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// This program's file; the assets are found from its place.
    pub(crate) executable: PathBuf,
    /// How many processors this process may use.
    pub(crate) processors: Processors,
}

/// One key with its effective value, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The dotted key.
    pub(crate) key: String,
    /// The value, without secrets.
    pub(crate) value: String,
    /// What set it.
    pub(crate) source: Source,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Problem {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// A file or variable is not written as it must be.
    #[error("{at}: {reason}")]
    Syntax {
        /// Where.
        at: Source,
        /// What is wrong.
        reason: String,
    },
    /// There is no such key.
    #[error("{at}: there is no key '{key}'{}", hint(nearest))]
    Unknown {
        /// Where it stands.
        at: Source,
        /// The key, as it is spelt there.
        key: String,
        /// The key that it resembles most, spelt in the same way.
        nearest: Option<String>,
    },
    /// A key cannot have this value.
    #[error("{at}: '{key}' cannot be {found}; accepted is {accepted}")]
    Refused {
        /// Where it stands.
        at: Source,
        /// The dotted key.
        key: String,
        /// The value, without secrets.
        found: String,
        /// What could stand there.
        accepted: String,
    },
    /// Two keys contradict each other.
    #[error("'{less}' ({little}) must be less than '{more}' ({much})")]
    Order {
        /// The key whose value must be less.
        less: &'static str,
        /// Its value and source.
        little: String,
        /// The key whose value must be more.
        more: &'static str,
        /// Its value and source.
        much: String,
    },
}

/// Everything that is wrong with the configuration, at once. Its text has one line for each.
#[derive(Debug, thiserror::Error)]
pub(crate) struct ConfigError {
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> io::Result<Self> {
        Ok(Self {
            folder: std::env::current_dir()?,
            environment: std::env::vars_os().collect(),
            executable: std::env::current_exe()?,
            processors: Processors::of_process()?,
        })
    }

    fn variable(&self, name: &str) -> Option<&Path> {
        let found = self.environment.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| Path::new(value))
    }
}

impl Config {
    /// Reads all layers. `file` is the configuration file that was asked for; without one, `visavis.toml` in the working
    /// folder is read if it exists.
    pub(crate) fn load(
        overrides: &[Override],
        file: Option<&Path>,
        surroundings: &Surroundings,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::defaults(surroundings.processors);
        let mut problems = Vec::new();
        let mut entries = layers::file(file, &surroundings.folder).unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        });
        entries.extend(layers::environment(surroundings).unwrap_or_else(|several| {
            problems.extend(several);
            Vec::new()
        }));
        entries.extend(layers::flags(overrides));
        problems.extend(config.apply(entries));
        config.fill_paths(surroundings);
        problems.extend(config.contradictions());
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }

    /// Every key with its effective value and where that came from, in the order of the sections.
    pub(crate) fn describe(&self) -> Vec<Setting> {
        let mut copy = self.clone();
        let settings = copy.fields().into_iter().map(|field| Setting {
            value: field.value.show(),
            source: self.source(&field.key),
            key: field.key,
        });
        settings.collect()
    }

    /// How many tasks are done at once.
    pub(crate) fn worker_concurrency(&self) -> usize {
        self.worker.concurrency.unwrap_or(self.processors.count)
    }

    /// The same and why, for people.
    pub(crate) fn describe_concurrency(&self) -> String {
        let count = self.worker_concurrency();
        let why = match self.worker.concurrency {
            None => format!("auto, {}", self.processors),
            Some(_) => self.source("worker.concurrency").to_string(),
        };
        format!("{count} task{} at once ({why})", if count == 1 { "" } else { "s" })
    }

    /// Whether this process' listeners ask for API keys: as it is set, or because others than this machine reach one of them.
    pub(crate) fn asks_for_keys(&self) -> bool {
        match self.auth.mode {
            Access::Auto => self.reached_by_others().is_some(),
            Access::Keys => true,
            Access::None => false,
        }
    }

    /// A listener that others than this machine reach, by its key and its address, of those that clients or those who watch have.
    pub(crate) fn reached_by_others(&self) -> Option<(&'static str, SocketAddr)> {
        let public = self.server.role.parts().0.then_some(("server.listen", self.server.listen));
        let metrics = self.telemetry.metrics.map(|address| ("telemetry.metrics", address));
        [public, metrics].into_iter().flatten().find(|(_, address)| !address.ip().is_loopback())
    }

    /// How many inferences of one model run at once.
    pub(crate) fn sessions(&self) -> usize {
        self.nn.sessions(self.processors.count)
    }

    /// How many threads each of them uses.
    pub(crate) fn threads(&self) -> usize {
        self.nn.threads(self.processors.count)
    }

    /// Where the value of a key came from, for messages.
    pub(crate) fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or_default()
    }

    /// Sets what the entries say, the later ones over the earlier ones, and answers what is wrong with them.
    fn apply(&mut self, entries: Vec<layers::Entry>) -> Vec<Problem> {
        let mut sources = BTreeMap::new();
        let mut problems = Vec::new();
        let mut fields = self.fields();
        for layers::Entry { key, raw, source } in entries {
            if let Some(field) = fields.iter_mut().find(|field| field.key == key) {
                if let Err(accepted) = field.value.read(&raw) {
                    problems.push(Problem::Refused { at: source.clone(), key, found: raw.to_string(), accepted });
                } else {
                    sources.insert(key, source);
                }
                continue;
            }
            let keys: Vec<_> = fields.iter().map(|field| field.key.as_str()).collect();
            let section = format!("{key}.");
            let table = raw == value::Raw::Other("a table");
            if keys.iter().any(|known| known.starts_with(&section)) {
                // A section that says nothing is fine; a value in the place of a section is not.
                if !table {
                    let accepted = format!("a section of keys, as '{}'", source.spell(first_of(&keys, &section)));
                    problems.push(Problem::Refused { at: source, key, found: raw.to_string(), accepted });
                }
                continue;
            }
            let sections = keys.iter().filter_map(|key| Some(key.rsplit_once('.')?.0));
            let names = if table { sections.collect() } else { keys };
            let nearest = nearest(&key, &names).map(|known| source.spell(known));
            problems.push(Problem::Unknown { key: source.spell(&key), at: source, nearest });
        }
        drop(fields);
        self.sources = sources;
        problems
    }

    /// Fills in the paths that nothing has set and that follow from others or from the surroundings.
    fn fill_paths(&mut self, surroundings: &Surroundings) {
        fill(&mut self.assets, || assets_beside(&surroundings.executable));
        let assets = &self.assets;
        let Components { cache, store, probes, gateway, analyzer, scorer, annotator, .. } = &mut self.components;
        fill(&mut gateway.path, || assets.join("components/gateway.wasm"));
        fill(&mut analyzer.path, || assets.join("components/analyzer.wasm"));
        fill(&mut scorer.path, || assets.join("components/scorer.wasm"));
        fill(&mut annotator.path, || assets.join("components/annotator.wasm"));
        fill(cache, || cache_folder(surroundings));
        fill(probes, || assets.join("photos"));
        fill(&mut self.nn.library, || {
            assets.join(match self.nn.backend {
                Backend::Auto | Backend::Onnx => "lib/libonnxruntime.so",
                Backend::OpenVino => OPENVINO,
            })
        });
        fill(&mut self.models.dir, || assets.join("models"));
        let beside = match &self.queue.url {
            QueueUrl::File(path) => path.parent().unwrap_or(Path::new("")),
            QueueUrl::Redis(_) => Path::new("visavis-data"),
        };
        fill(&mut self.queue.encryption_key_file, || beside.join("payload.key"));
        fill(&mut self.server.admin_token_file, || beside.join("admin.token"));
        fill(&mut self.auth.keys_file, || beside.join("api-keys.json"));
        fill(&mut self.webhooks.secret_file, || beside.join("webhook.secret"));
        fill(store, || beside.join("components"));
    }

    /// Pairs of values that are each allowed but make no sense together.
    fn contradictions(&self) -> Vec<Problem> {
        let pairs = [
            ("server.body_limit", "server.body_memory", self.server.body_limit < self.server.body_memory),
            ("worker.task_timeout", "queue.payload_ttl", self.worker.task_timeout < self.queue.payload_ttl),
            ("worker.retries", "queue.max_deliveries", self.worker.retries < self.queue.max_deliveries),
        ];
        let settings = self.describe();
        let said = |key: &str| {
            let setting = settings.iter().find(|setting| setting.key == key);
            setting.map(|setting| format!("{}, {}", setting.value, setting.source)).unwrap_or_default()
        };
        let wrong = pairs.into_iter().filter(|(_, _, fine)| !fine);
        wrong.map(|(less, more, _)| Problem::Order { less, little: said(less), more, much: said(more) }).collect()
    }
}

fn fill(path: &mut PathBuf, otherwise: impl FnOnce() -> PathBuf) {
    if path.as_os_str().is_empty() {
        *path = otherwise();
    }
}

/// The assets of an installed program lie in `../share/visavis` from its folder, those of a built one in `../visavis`.
fn assets_beside(executable: &Path) -> PathBuf {
    let above = executable.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let installed = above.join("share/visavis");
    if installed.is_dir() { installed } else { above.join("visavis") }
}

/// The user's cache folder by the XDG Base Directory Specification; a user without a home keeps it beside the queue.
fn cache_folder(surroundings: &Surroundings) -> PathBuf {
    let cache = surroundings.variable("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(Path::to_owned);
    let home = || surroundings.variable("HOME").map(|home| home.join(".cache"));
    cache.or_else(home).map_or_else(|| "visavis-data/compiled".into(), |cache| cache.join("visavis/compiled"))
}

/// The known key that an unknown one resembles most: as a whole, or by its last part when it stands in the wrong section.
fn nearest<'a>(key: &str, keys: &[&'a str]) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, known);
        let end = strsim::normalized_damerau_levenshtein(&last(key), &last(known));
        (whole.max(0.9 * end), whole)
    };
    let order = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    let (best, known) = keys.iter().map(|known| (likeness(known), *known)).max_by(|a, b| order(&a.0, &b.0))?;
    (best.0 > 0.5).then_some(known)
}

fn first_of<'a>(keys: &[&'a str], section: &str) -> &'a str {
    keys.iter().find(|known| known.starts_with(section)).copied().unwrap_or_default()
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(
        || "; 'visavis doctor' lists all keys".to_owned(),
        |known| format!("; the nearest known one is '{known}'"),
    )
}

#[cfg(test)]
mod tests;
