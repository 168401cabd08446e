//! How the layers meet, and what each mistake is answered with.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::task::NonFrontal;
use crate::telemetry::Format;

/// A working folder with the files of one test, and an environment.
struct House {
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl House {
    fn new(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { folder, environment }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            folder: self.folder.path().to_owned(),
            environment: self.environment.clone(),
            executable: self.folder.path().join("target/release/visavis"),
            processors: Processors { count: 3, ..Processors::of_process().unwrap() },
        }
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&[], None, &self.surroundings())
    }

    fn complaint(&self) -> String {
        self.load().expect_err("it should be refused").to_string()
    }
}

fn flag(key: &'static str, flag: &'static str, value: &str) -> Override {
    Override { key, flag, value: value.to_owned() }
}

#[test]
fn nothing_set_gives_the_defaults() {
    let house = House::new(&[], &[("HOME", "/home/me"), ("PATH", "/bin")]);
    let config = house.load().unwrap();
    let assets = house.folder.path().join("target/visavis");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!((config.worker.concurrency, config.worker_concurrency()), (None, 3));
    assert_eq!((config.sessions(), config.threads()), (3, 1));
    assert_eq!(config.assets, assets);
    assert_eq!(config.components.scorer.path, assets.join("components/scorer.wasm"));
    assert_eq!(config.models.dir, assets.join("models"));
    assert_eq!(config.nn.library, assets.join("lib/libonnxruntime.so"));
    assert_eq!(config.components.cache, Path::new("/home/me/.cache/visavis/compiled"));
    assert_eq!(config.queue.url, QueueUrl::File("visavis-data/queue.redb".into()));
    assert_eq!(config.queue.encryption_key_file, Path::new("visavis-data/payload.key"));
    assert_eq!(config.verify.threshold, None);
    assert!(config.describe().iter().all(|setting| setting.source == Source::Default));
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\nbody_limit = \"1MiB\"\nconcurrency = 5\n[worker]\nretries = 0\n";
    let env = ".env";
    let dot_env = "VISAVIS_SERVER__LISTEN=127.0.0.1:2\nVISAVIS_SERVER__BODY_LIMIT=\"2MiB\"\n";
    let house = House::new(
        &[("visavis.toml", file), (env, dot_env)],
        &[("VISAVIS_SERVER__LISTEN", "127.0.0.1:3"), ("VISAVIS_VERIFY__NON_FRONTAL", "report")],
    );
    let overrides = [flag("server.listen", "--listen", "127.0.0.1:4")];
    let config = Config::load(&overrides, None, &house.surroundings()).unwrap();
    assert_eq!(config.server.listen.port(), 4);
    assert_eq!(config.server.body_limit, 2 << 20);
    assert_eq!(config.server.concurrency, 5);
    assert_eq!(config.worker.retries, 0);
    assert_eq!(config.verify.non_frontal, NonFrontal::Report);
    assert_eq!(house.load().unwrap().server.listen.port(), 3);

    let said = |key: &str| config.source(key).to_string();
    assert_eq!(said("server.listen"), "--listen");
    assert_eq!(said("server.body_limit"), "VISAVIS_SERVER__BODY_LIMIT in .env");
    assert_eq!(said("server.concurrency"), "visavis.toml:4");
    assert_eq!(said("verify.non_frontal"), "VISAVIS_VERIFY__NON_FRONTAL");
    assert_eq!(said("verify.threshold"), "default");
}

#[test]
fn the_seeds_variables_win_over_the_file_and_lose_to_ours() {
    let file = "[queue]\nurl = \"file:a\"\n[worker]\ntask_timeout = 5\n";
    let seed = [("REDIS_URL", "redis://:pa55word@localhost:6379/0"), ("CELERY_TASK_TIMEOUT", "45")];
    let house = House::new(&[("visavis.toml", file)], &seed);
    let config = house.load().unwrap();
    assert_eq!(config.queue.url, QueueUrl::Redis(seed[0].1.to_owned()));
    assert_eq!(config.worker.task_timeout, Duration::from_secs(45));
    assert_eq!(config.source("worker.task_timeout").to_string(), "CELERY_TASK_TIMEOUT");
    assert!(config.describe().iter().all(|setting| !setting.value.contains("pa55word")));
    assert!(!format!("{config:?}").contains("pa55word"));

    let ours = "VISAVIS_QUEUE__URL=file:b\nVISAVIS_WORKER__TASK_TIMEOUT=7s\n";
    let house = House::new(&[(".env", ours)], &seed);
    let config = house.load().unwrap();
    assert_eq!(config.queue.url, QueueUrl::File("b".into()));
    assert_eq!(config.worker.task_timeout, Duration::from_secs(7));
}

#[test]
fn an_empty_variable_is_not_set() {
    let house = House::new(&[], &[("VISAVIS_VERIFY__THRESHOLD", ""), ("REDIS_URL", "")]);
    let config = house.load().unwrap();
    assert_eq!((config.verify.threshold, config.source("queue.url")), (None, Source::Default));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_its_neighbour() {
    let house = House::new(
        &[
            ("visavis.toml", "[server]\n# a comment\nlistn = \"x\"\n[serverr]\n[quirk]\nzzzzzzzz = 1\n"),
            (".env", "VISAVIS_QUEUE__URI=x\n"),
        ],
        &[("VISAVIS_SCORER__PATH", "x"), ("VISAVIS_LISTEN", "y")],
    );
    let complaint = house.complaint();
    for line in [
        "visavis.toml:3: there is no key 'server.listn'; the nearest known one is 'server.listen'",
        "visavis.toml:4: there is no key 'serverr'; the nearest known one is 'server'",
        "visavis.toml:6: there is no key 'quirk.zzzzzzzz'; 'visavis doctor' lists all keys",
        "VISAVIS_QUEUE__URI in .env: there is no key 'VISAVIS_QUEUE__URI'; the nearest known one is 'VISAVIS_QUEUE__URL'",
        "VISAVIS_SCORER__PATH: there is no key 'VISAVIS_SCORER__PATH'; the nearest known one is 'VISAVIS_COMPONENTS__SCORER__PATH'",
        "VISAVIS_LISTEN: there is no key 'VISAVIS_LISTEN'; the nearest known one is 'VISAVIS_SERVER__LISTEN'",
    ] {
        assert!(complaint.contains(line), "{line}\nis missing in\n{complaint}");
    }
}

#[test]
fn an_unusable_value_is_named_with_what_is_accepted() {
    let file =
        "[server]\nconcurrency = \"64\"\nbody_limit = true\n[verify]\nthreshold = 3\n[nn]\nbackend = \"torch\"\n";
    let house = House::new(
        &[("visavis.toml", file)],
        &[("VISAVIS_WORKER__CONCURRENCY", "0"), ("VISAVIS_QUEUE__LEASE", "soon"), ("VISAVIS_TELEMETRY__LOG", "inof")],
    );
    let complaint = house.complaint();
    for line in [
        "visavis.toml:2: 'server.concurrency' cannot be \"64\"; accepted is a whole number from 1 to 4096",
        "visavis.toml:3: 'server.body_limit' cannot be true; accepted is a size from 1KiB to 1GiB",
        "visavis.toml:5: 'verify.threshold' cannot be 3; accepted is a number from 0 to 2",
        "visavis.toml:7: 'nn.backend' cannot be \"torch\"; accepted is \"auto\" or \"onnx\" or \"openvino\"",
        "VISAVIS_WORKER__CONCURRENCY: 'worker.concurrency' cannot be \"0\"; accepted is a whole number from 1 to 1024, or \"auto\"",
        "VISAVIS_QUEUE__LEASE: 'queue.lease' cannot be \"soon\"; accepted is a duration from 1s to 1h",
        "VISAVIS_TELEMETRY__LOG: 'telemetry.log' cannot be \"inof\"; accepted is \"off\"",
    ] {
        assert!(complaint.contains(line), "{line}\nis missing in\n{complaint}");
    }
}

#[test]
fn a_flag_is_checked_like_everything_else() {
    let house = House::new(&[], &[]);
    let overrides = [flag("verify.threshold", "--threshold", "x"), flag("server.listen", "--listen", "localhost")];
    let complaint = Config::load(&overrides, None, &house.surroundings()).unwrap_err().to_string();
    assert!(complaint.contains("--threshold: 'verify.threshold' cannot be \"x\""), "{complaint}");
    assert!(complaint.contains("--listen: 'server.listen' cannot be \"localhost\""), "{complaint}");
}

#[test]
fn a_section_and_a_value_are_not_confused() {
    let house = House::new(&[("visavis.toml", "server = 3\n[queue]\n[verify.threshold]\nx = 1\n")], &[]);
    let complaint = house.complaint();
    assert!(complaint.contains("visavis.toml:1: 'server' cannot be 3; accepted is a section of keys"), "{complaint}");
    assert!(complaint.contains("there is no key 'verify.threshold.x'"), "{complaint}");
    assert!(!complaint.contains("queue"), "an empty section says nothing: {complaint}");
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let house = House::new(&[("visavis.toml", "[server]\nlisten = \n")], &[]);
    assert!(house.complaint().contains("visavis.toml:2: "), "{}", house.complaint());
    let house = House::new(&[(".env", "A=1\nREDIS_URL=redis://:s3cr3t@h and more\n")], &[]);
    let complaint = house.complaint();
    assert!(complaint.contains(".env: line 2, REDIS_URL, is not"), "{complaint}");
    assert!(!complaint.contains("s3cr3t") && !complaint.contains("more"), "{complaint}");
}

#[test]
fn another_programs_lines_in_dot_env_stop_nobody() {
    let text = "DB_PASSWORD=hunter2 and more\nSECRET s3cr3t\nVISAVIS_VERIFY__THRESHOLD=1.5\n";
    let house = House::new(&[(".env", text)], &[]);
    assert_eq!(house.load().unwrap().verify.threshold, Some(1.5));
}

#[test]
fn a_folder_called_dot_env_is_no_mistake() {
    let house = House::new(&[], &[]);
    fs::create_dir(house.folder.path().join(".env")).unwrap();
    assert!(house.load().is_ok());
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let house = House::new(&[("other.toml", "assets = \"somewhere\"\n")], &[]);
    let error = Config::load(&[], Some(Path::new("missing.toml")), &house.surroundings()).unwrap_err();
    assert!(matches!(&error.problems[..], [Problem::Unreadable { path, .. }] if path == Path::new("missing.toml")));
    let config = Config::load(&[], Some(Path::new("other.toml")), &house.surroundings()).unwrap();
    assert_eq!(config.models.dir, Path::new("somewhere/models"));
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let variables = [
        ("VISAVIS_WORKER__TASK_TIMEOUT", "20m"),
        ("VISAVIS_QUEUE__MAX_DELIVERIES", "3"),
        ("VISAVIS_SERVER__BODY_MEMORY", "20MiB"),
    ];
    let complaint = House::new(&[], &variables).complaint();
    for line in [
        "'worker.task_timeout' (20m, VISAVIS_WORKER__TASK_TIMEOUT) must be less than 'queue.payload_ttl' (15m, default)",
        "'server.body_limit' (20MiB, default) must be less than 'server.body_memory' (20MiB, VISAVIS_SERVER__BODY_MEMORY)",
        "'worker.retries' (3, default) must be less than 'queue.max_deliveries' (3, VISAVIS_QUEUE__MAX_DELIVERIES)",
    ] {
        assert!(complaint.contains(line), "{line}\nis missing in\n{complaint}");
    }
}

#[test]
fn an_installed_program_finds_its_assets() {
    let house = House::new(&[], &[]);
    let share = house.folder.path().join("target/share/visavis");
    fs::create_dir_all(&share).unwrap();
    assert_eq!(house.load().unwrap().assets, share);
}

#[test]
fn compiled_code_goes_to_the_users_cache() {
    let cache = |environment: &[(&str, &str)]| House::new(&[], environment).load().unwrap().components.cache;
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]), Path::new("/c/visavis/compiled"));
    assert_eq!(cache(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")]), Path::new("/h/.cache/visavis/compiled"));
    assert_eq!(cache(&[]), Path::new("visavis-data/compiled"));
}

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../visavis.example.toml"));

#[test]
fn the_example_file_says_the_defaults() {
    let house = House::new(&[("visavis.toml", EXAMPLE)], &[("HOME", "/home/me")]);
    let values =
        |house: &House| house.load().unwrap().describe().into_iter().map(|s| (s.key, s.value)).collect::<Vec<_>>();
    let written = values(&house);
    fs::remove_file(house.folder.path().join("visavis.toml")).unwrap();
    assert_eq!(written, values(&house));
}

#[test]
fn the_example_file_names_every_key() {
    // A default that depends on the machine is commented out, as `# key = value`.
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ").and_then(|rest| Some((rest, rest.split_once(" = ")?.0))) {
            Some((rest, key)) if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let house = House::new(&[("visavis.toml", &uncommented)], &[]);
    let missing: Vec<_> =
        house.load().unwrap().describe().into_iter().filter(|s| s.source == Source::Default).collect();
    assert_eq!(missing, []);
    assert_eq!(house.load().unwrap().telemetry.format, Format::Auto);
}

#[test]
fn the_readme_lists_every_key_with_its_default() {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
    let house = House::new(&[("visavis.toml", EXAMPLE)], &[]);
    for Setting { key, value, source } in house.load().unwrap().describe() {
        let key = ["gateway", "analyzer", "scorer", "annotator"]
            .iter()
            .fold(key, |key, name| key.replace(&format!("components.{name}."), "components.NAME."));
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("README.md does not list {key}"));
        // What the example file does not set depends on the machine.
        assert!(source == Source::Default || row.contains(&format!("`{value}`")), "{value} is missing in {row}");
    }
}
