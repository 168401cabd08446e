//! The integration tests: one binary, so that one host serves all tests that need none of their own.
//!
//! Owns what holds of the whole house, seen from outside. Must never reach into the host's code, apart from `tidy`,
//! `supply_chain` and `documents`, which read its sources.

mod backends;
mod batches;
mod bundles;
mod cache;
mod canaries;
mod clients;
mod command_line;
mod configuration;
mod contract;
mod damage;
mod deploy;
mod documents;
mod durability;
mod failures;
mod fleet;
mod golden;
mod gpu;
mod hostile_bodies;
mod hostile_files;
mod keys;
mod languages;
mod limits;
mod observability;
mod openapi;
mod operations;
mod overload;
mod privacy;
mod processors;
mod refusals;
mod shared_queue;
mod supply_chain;
mod swap_recovery;
mod swap_refusals;
mod swapping;
mod tidy;
mod tls;
mod traces;
mod watching;
mod webhooks;
