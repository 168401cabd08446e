//! `visavis keys`: makes, lists, rotates and revokes API keys.
//!
//! Owns what is printed: a new key alone on stdout, once, and all else about it on stderr. Must never know how a key is made or
//! kept.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::table::{line, span, table};
use crate::arguments::keys::{Add, KeysCommand};
use crate::auth::{Granted, Keys, New, Record, SCOPES, now};
use crate::config::Config;

/// Runs the command.
pub(crate) fn run(config: &Config, command: &KeysCommand) -> anyhow::Result<ExitCode> {
    let file = &config.auth.keys_file;
    match command {
        KeysCommand::Add(add) => show(config, &Keys::add(file, wanted(add), now())?),
        KeysCommand::Rotate { key, overlap } => {
            let granted = Keys::rotate(file, key, *overlap, now())?;
            show(config, &granted);
            match granted.record.overlap(now()) {
                Some(left) => eprintln!("The old key is taken for another {}.", span(Duration::from_secs(left))),
                None => eprintln!("The old key is taken no more."),
            }
        }
        KeysCommand::List { json } => list(&Keys::read(file)?.keys, *json),
        KeysCommand::Revoke { keys } => {
            for key in keys {
                let Record { id, name, .. } = Keys::revoke(file, key)?;
                println!("{id} {} is revoked", line(&name));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(add: &Add) -> New {
    let Add { name, scopes, per_minute, max_waiting, expires } = add;
    let scopes = SCOPES.into_iter().filter(|scope| scopes.iter().any(|name| name == scope.as_str())).collect();
    let (per_minute, max_waiting, lifetime) = (*per_minute, *max_waiting, *expires);
    New { name: name.clone(), scopes, per_minute, max_waiting, lifetime }
}

/// Shows a key to whoever made it.
fn show(config: &Config, granted: &Granted) {
    let Record { id, name, .. } = &granted.record;
    println!("{}", granted.key.as_str());
    eprintln!(
        "This is the key {:?} of the id {id}, with the scopes {}. It is shown this once; {} holds a hash of it.",
        name,
        scopes(&granted.record),
        config.auth.keys_file.display()
    );
    if !config.asks_for_keys() {
        eprintln!(
            "A host of these settings asks for no key: auth.mode is {}, and {}.",
            config.describe().iter().find(|it| it.key == "auth.mode").map_or("", |it| it.value.as_str()),
            config.reached_by_others().map_or_else(
                || "every listener is of the loopback".to_owned(),
                |(key, address)| format!("{key} is {address}")
            )
        );
    }
}

fn list(keys: &[Record], as_json: bool) {
    if as_json {
        for record in keys {
            let Record { id, name, scopes, per_minute, max_waiting, created, expires, .. } = record;
            let overlap = record.overlap(now());
            println!(
                "{}",
                json!({
                    "id": id, "name": name, "scopes": scopes, "per_minute": per_minute, "max_waiting": max_waiting,
                    "created": created, "expires": expires, "old_key_left_s": overlap,
                })
            );
        }
        return;
    }
    let heading = ["ID", "NAME", "SCOPES", "PER MINUTE", "MAY WAIT", "AGE", "EXPIRES"].map(str::to_owned);
    let rows = keys.iter().map(|record| {
        let number = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let expires = match record.expires {
            None => "never".to_owned(),
            Some(_) if record.has_expired(now()) => "is over".to_owned(),
            Some(at) => format!("in {}", span(Duration::from_secs(at.saturating_sub(now())))),
        };
        [
            record.id.clone(),
            line(&record.name),
            scopes(record),
            number(record.per_minute.map(u64::from)),
            number(record.max_waiting),
            span(Duration::from_secs(now().saturating_sub(record.created))),
            expires,
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    print!("{}", table(&rows));
}

fn scopes(record: &Record) -> String {
    record.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}
