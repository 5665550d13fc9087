//! What a gateway does as its users meet it: over the wire, as a process, at the command line. One binary, because each
//! one links the whole library.

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod audit;
mod auth;
mod authzen;
mod authzen_certification;
mod bad_input;
mod bound;
mod cedar_corpus;
mod cedar_http;
mod cli;
mod coded_bodies;
mod config;
mod connect;
mod connect_attacks;
mod crash;
mod ext_authz;
mod gateway;
mod guides;
mod limits;
mod mcp;
mod mcp_extensions;
mod mtls;
mod obligations;
mod ocsp;
mod oopsla;
mod openapi;
mod plain_login;
mod policy_cli;
mod policy_coverage;
mod policy_diff;
mod policy_editor;
mod policy_explain;
mod policy_first;
mod policy_fmt;
mod policy_import;
mod policy_index;
mod policy_lint;
mod policy_live;
mod policy_matrix;
mod policy_reload;
mod policy_repl;
mod policy_replay;
mod policy_versions;
mod policy_world;
mod process;
mod proxies;
mod roles;
mod slow;
mod tls;
mod upstream_auth;
mod vault;
