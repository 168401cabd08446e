//! Who else bears witness beside the nodes: what an operator counts, and how often Redis wrote that a task ended.
//!
//! Owns the little that a test reads past the host: the append-only file, in which no write is missed and none is undone. Must
//! never write.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::host::Setup;
use crate::redis::Redis;

/// How many tasks are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a worker, retries included.
    pub waiting: u64,
    /// Held by a worker.
    pub running: u64,
    /// Given up after too many tries.
    pub dead: u64,
}

/// Counts the tasks of the queue, as an operator on another machine does.
pub fn counts(redis: &Redis) -> Counts {
    let output = Setup::new().run(["queue", "stats", "--json", "--queue", &redis.url()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let [waiting, running, dead] = ["waiting", "running", "dead"].map(|what| told[what].as_u64().expect("a count"));
    Counts { waiting, running, dead }
}

/// Keeps the append-only file whole: Redis would write it anew without what has been undone.
pub fn keep_all(redis: &Redis) {
    assert_eq!(command(redis, "CONFIG SET auto-aof-rewrite-percentage 0"), "OK");
}

/// How often each task was ended, by the 32 digits of its id.
pub fn ends(redis: &Redis) -> HashMap<String, usize> {
    let mut ends = HashMap::new();
    for file in files(redis) {
        let mut file = BufReader::new(File::open(file).expect("the file can be read"));
        while let Some(command) = next(&mut file) {
            let Some(id) = command.get(1).and_then(|key| key.strip_prefix("{visavis}:task:")) else { continue };
            let phase = command.iter().skip(2).step_by(2).zip(command.iter().skip(3).step_by(2));
            let ended = phase.filter(|(field, value)| *field == "phase" && ["S", "F", "X"].contains(&value.as_str()));
            if ended.count() > 0 && command[0].eq_ignore_ascii_case("HSET") {
                *ends.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
    ends
}

/// The parts of the append-only file, in their order.
fn files(redis: &Redis) -> Vec<PathBuf> {
    let folder = fs::read_dir(redis.folder().join("appendonlydir")).expect("Redis keeps an append-only file");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".incr.aof"));
    files.sort();
    files
}

/// The next command of an append-only file; long arguments, which are photographs, are left out. `None` at the end, also
/// where a server was killed while it wrote.
fn next(file: &mut impl BufRead) -> Option<Vec<String>> {
    let length = |line: &str, sign: char| line.trim_end().strip_prefix(sign)?.parse::<usize>().ok();
    let mut line = String::new();
    file.read_line(&mut line).ok()?;
    let mut command = Vec::new();
    for _ in 0..length(&line, '*')? {
        line.clear();
        file.read_line(&mut line).ok()?;
        let mut bytes = vec![0; length(&line, '$')? + 2];
        file.read_exact(&mut bytes).ok()?;
        bytes.truncate(bytes.len() - 2);
        command.push(if bytes.len() > 4096 { String::new() } else { String::from_utf8_lossy(&bytes).into_owned() });
    }
    Some(command)
}

/// Sends one command; answers what a line of an answer says.
fn command(redis: &Redis, text: &str) -> String {
    let address = redis.url().replace("redis://", "");
    let mut stream = TcpStream::connect(address).expect("Redis listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit above zero");
    stream.write_all(format!("{text}\r\n").as_bytes()).expect("Redis reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("Redis answers");
    line.trim_end().trim_start_matches([':', '+']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_comes_twice_is_seen_twice() {
        let redis = Redis::start();
        keep_all(&redis);
        for text in ["HSET {visavis}:task:aa phase W seq 1", "HSET {visavis}:task:aa phase S outcome {}"] {
            command(&redis, text);
        }
        command(&redis, "HSET {visavis}:task:bb seq 2 phase F");
        command(&redis, "HSET {visavis}:task:aa phase S outcome {}");
        let ends = ends(&redis);
        assert_eq!((ends.len(), ends["aa"], ends["bb"]), (2, 2, 1));
    }
}
