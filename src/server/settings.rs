//! From the configuration to the settings of each part.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{
    FollowSettings, HttpLimits, MinVersion, OcspSettings, PublishedSettings, RemoteSettings, Settings,
    TlsSettings,
};
use crate::authn::jwt::{self, JwksPlace, JwksUrl, JwtAlgorithm, JwtKey, KeyMaterial};
use crate::authn::mtls;
use crate::config;
use crate::limit::{QuotaSettings, Rate};
use crate::model::CapabilityName;
use crate::tools::{ServerSettings, Transport};

/// A page of WebAssembly memory.
const PAGE: usize = 64 * 1024;

impl From<config::Settings> for Settings {
    fn from(config: config::Settings) -> Self {
        let server = config.server;
        let data = server.data_dir;
        let security = config.security;
        let log = security.audit.log_file.clone();
        let schema_dir = security.authorization.schema_dir.clone();
        let allowed_origins = config.mcp.allowed_origins.clone();
        let allowed_hosts = config.mcp.allowed_hosts.clone();
        // Behind a proxy that passes certificates on, the handshake here is the proxy's: the request has to show one.
        let require_client_cert = server.client_cert_header.is_some()
            && server.clients.as_ref().is_some_and(|clients| clients.required);
        let leeway = security.authentication.tokens.leeway;
        let mut authn = crate::authn::Settings {
            jwt: security.authentication.jwt.map(jwt),
            api_keys: crate::authn::api_key::Settings::in_directory(&data),
            tokens: own_tokens(
                security.authentication.tokens,
                security.authentication.session_timeout,
                &data,
            ),
            mtls: server.clients.map(clients),
            dpop: proofs(security.authentication.dpop),
            oauth2: security.oauth2.map(|config| oauth2(config, leeway)),
        };
        authn.api_keys.max_age = security.api_keys.max_age;
        authn.api_keys.grace = security.api_keys.grace;
        let header = security.api_keys.header_name;
        if !authn.api_keys.header_names.contains(&header) {
            authn.api_keys.header_names.push(header);
        }
        let quotas = QuotaSettings {
            per_key: Some(rate(security.api_keys.rate_limit_per_key, security.api_keys.burst_limit)),
            per_route: named(security.rate_limit.per_route.clone(), Some),
            per_capability: named(security.rate_limit.per_capability.clone(), |name| {
                CapabilityName::parse(name).ok()
            }),
            max_entries: security.rate_limit.max_principals,
        };
        Self {
            listen: SocketAddr::new(server.host, server.port),
            operations: SocketAddr::new(server.metrics_host, server.metrics_port),
            reload: crate::changes::ReloadSettings {
                timeout: config.config_agents.hot_reload_validation_timeout,
                max_bundle_bytes: security.authorization.max_bundle_bytes as u64,
                ..crate::changes::ReloadSettings::in_directory(&data)
            },
            follow: FollowSettings {
                watch: security.authorization.watch,
                remote: security.authorization.bundle.map(|bundle| RemoteSettings {
                    url: bundle.url,
                    interval: bundle.poll_interval,
                    longest_wait: bundle.max_wait,
                }),
                ..Default::default()
            },
            policy_dir: security.authorization.policy_dir,
            schema_dir: schema_dir.clone(),
            extend_shipped: security.authorization.extend_shipped,
            roles_file: security.authorization.roles_file,
            candidate_dir: security.authorization.candidate_dir,
            published: security.authorization.version_store.map(|store| PublishedSettings {
                store,
                trusted_keys: security.authorization.trusted_keys_file,
            }),
            policy: crate::policy::Settings {
                on_policy_error: security.authorization.on_policy_error,
                ..Default::default()
            },
            audit: crate::audit::Settings {
                path: log.clone(),
                durability: match security.audit.durability {
                    config::Durability::Written => crate::audit::Durability::Written,
                    config::Durability::Synced => crate::audit::Durability::Synced,
                },
                queue: security.audit.queue,
                deadline: security.audit.deadline,
                fsync_interval: security.audit.sync_interval,
                refusal_window: security.audit.refusal_window,
                refusal_kinds: security.audit.refusal_kinds,
                record_bytes: security.audit.max_record_bytes,
                ..Default::default()
            },
            replayable: security.audit.replayable,
            authn,
            limit: crate::limit::Settings {
                per_principal: rate(security.rate_limit.per_principal, security.rate_limit.burst),
                max_principals: security.rate_limit.max_principals,
            },
            quotas,
            failures: security.failures.map(|failures| crate::limit::FailureSettings {
                attempts: failures.attempts,
                block: failures.block,
                ..Default::default()
            }),
            screen: crate::screen::Settings {
                threshold: config.screening.threshold,
                max_bytes: config.screening.max_bytes,
                ..Default::default()
            },
            sessions: crate::authz::SessionSettings {
                timeout: security.authentication.session_timeout,
                ..Default::default()
            },
            memory: memory(config.memory, &data),
            sandbox: sandbox(config.runtime),
            tools: tools(config.mcp, config.tool_security, schema_dir),
            agents: crate::agents::Settings {
                directory: server.agents_dir,
                max_agents: config.config_agents.max_agent_count,
                max_file_bytes: config.config_agents.max_file_bytes as u64,
                forbidden_capabilities: config.config_agents.forbidden_capabilities,
            },
            attributes: attributes(security.attributes, &data),
            messages: crate::messages::Settings {
                max_message_bytes: config.communication.max_message_bytes,
                conversation_timeout: config.communication.conversation_timeout,
                max_messages: config.communication.max_messages,
                max_conversations: config.communication.max_conversations,
                max_conversations_per_sender: config.communication.max_conversations_per_sender,
                max_bytes_per_sender: config.communication.max_bytes_per_sender,
                max_bytes: config.communication.max_bytes,
            },
            runtime: crate::runtime::Settings {
                max_turns: config.config_agents.limits.max_turns,
                max_calls: config.config_agents.limits.max_calls,
                deadline: config.config_agents.limits.deadline,
                max_result_bytes: config.config_agents.limits.max_result_bytes,
            },
            model: config.model.map(|model| crate::runtime::ModelSettings {
                base_url: model.base_url,
                api_key: model.api_key,
                name: model.name,
                timeout: model.timeout,
                max_response_bytes: model.max_response_bytes,
            }),
            api: crate::api::Settings {
                max_body_bytes: server.max_body,
                rooms: crate::api::RoomSettings {
                    per_connection: server.max_bodies.0,
                    per_caller: server.max_bodies.1,
                    in_all: server.max_bodies.2,
                },
                body_timeout: server.body_timeout,
                issuers: Vec::new(),
                authorization_server: None,
                resource_scopes: security.authentication.resource_scopes,
                ext_authz_peers: security.ext_authz_peers,
                public_url: server.public_url.map(|address| address.expose().to_string()),
                max_import_bytes: crate::api::Settings::default().max_import_bytes,
                request_timeout: server.request_timeout,
                allowed_origins,
                allowed_hosts,
                proxies: crate::api::Proxies {
                    networks: server.trusted_proxies,
                    forwarded_by: match server.forwarded_by {
                        config::ForwardedBy::XForwardedFor => crate::api::ForwardedBy::XForwardedFor,
                        config::ForwardedBy::Forwarded => crate::api::ForwardedBy::Forwarded,
                    },
                    certificate_header: server.client_cert_header,
                },
                require_client_cert,
                require_tls: security.authentication.require_tls,
            },
            tls: server.tls.map(tls),
            http: HttpLimits {
                max_connections: server.max_connections,
                header_timeout: server.header_timeout,
                idle_timeout: server.idle_timeout,
                max_connections_per_address: server.max_connections_per_address,
                max_header_bytes: server.max_header_bytes,
                max_headers: server.max_headers,
                max_streams: server.max_streams,
            },
            lockdown: security.lockdown,
            shutdown_grace: server.shutdown_grace,
        }
    }
}

fn clients(config: config::ClientCertificates) -> mtls::Settings {
    mtls::Settings {
        crl_files: config.crl_files,
        used_for: match config.used_for {
            config::ClientCertificateUse::Principal => mtls::Use::Principal,
            config::ClientCertificateUse::Connection => mtls::Use::Connection,
        },
        required: config.required,
        insecure_cn_identity: config.insecure_cn_identity,
        ..mtls::Settings::new(config.ca_file)
    }
}

fn tls(config: config::Tls) -> TlsSettings {
    TlsSettings {
        min_version: match config.min_version {
            config::TlsVersion::Tls13 => MinVersion::Tls13,
            config::TlsVersion::Tls12 => MinVersion::Tls12,
        },
        cipher_suites: config.cipher_suites,
        handshake_timeout: config.handshake_timeout,
        max_handshakes: config.max_handshakes,
        max_handshakes_per_address: config.max_handshakes_per_address,
        reload_interval: Some(config.reload_interval).filter(|interval| !interval.is_zero()),
        ocsp: config
            .ocsp_stapling
            .then(|| OcspSettings { responder: config.ocsp_responder, ..Default::default() }),
        ..TlsSettings::new(config.cert_path, config.key_path)
    }
}

fn rate(given: config::Rate, burst: u32) -> Rate {
    // INVARIANT: the configuration has checked count, time and burst; the shipped limit stands in for what cannot be.
    Rate::new(given.count, given.per, burst)
        .unwrap_or_else(|_| crate::limit::Settings::default().per_principal)
}

/// Rates by a name; what may come at once is what may come in all.
fn named<N: Ord>(
    rates: Vec<(String, config::Rate)>,
    name: impl Fn(String) -> Option<N>,
) -> BTreeMap<N, Rate> {
    let read = |(text, given): (String, config::Rate)| Some((name(text)?, rate(given, given.count)));
    rates.into_iter().filter_map(read).collect()
}

fn jwt(config: config::Jwt) -> jwt::Settings {
    let algorithm = algorithm(config.algorithm);
    let (keys, jwks) = match config.key {
        config::JwtKey::PublicKeyFile(path) | config::JwtKey::SecretFile(path) => {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let name = stem.unwrap_or_else(|| "jwt".into()).into();
            (vec![JwtKey { name, algorithm, material: KeyMaterial::File(path), kid: None }], None)
        }
        config::JwtKey::JwksFile(path) => (Vec::new(), Some((algorithm, JwksPlace::File(path)))),
        config::JwtKey::JwksUrl(jwks) => {
            let url = JwksUrl {
                url: jwks.url,
                refresh: jwks.refresh,
                min_interval: jwks.min_interval,
                stale_after: jwks.stale_after,
                timeout: jwks.timeout,
                max_bytes: jwks.max_bytes,
            };
            (Vec::new(), Some((algorithm, JwksPlace::Url(url))))
        }
    };
    jwt::Settings {
        keys,
        jwks,
        issuer: config.issuer.into(),
        audience: config.audience.into(),
        leeway: config.leeway,
        max_token_bytes: config.max_token_bytes,
        cache_entries: config.token_cache,
        ..jwt::Settings::default()
    }
}

fn algorithm(config: config::JwtAlgorithm) -> JwtAlgorithm {
    match config {
        config::JwtAlgorithm::Rs256 => JwtAlgorithm::Rs256,
        config::JwtAlgorithm::Es256 => JwtAlgorithm::Es256,
        config::JwtAlgorithm::EdDsa => JwtAlgorithm::EdDsa,
        config::JwtAlgorithm::Hs256 => JwtAlgorithm::Hs256,
    }
}

fn oauth2(config: config::Oauth2, leeway: std::time::Duration) -> crate::authn::oauth2::Settings {
    use crate::authn::oauth2::ClientSecret;
    crate::authn::oauth2::Settings {
        authorization_endpoint: config.authorization_endpoint,
        token_endpoint: config.token_endpoint,
        userinfo_endpoint: config.userinfo_endpoint,
        device_authorization_endpoint: config.device_authorization_endpoint,
        jwks_uri: config.jwks_uri,
        client_secret: config.client_secret.map(|secret| match secret {
            config::ClientSecret::Given(secret) => ClientSecret::Given(secret),
            config::ClientSecret::File(path) => ClientSecret::File(path),
        }),
        scopes: config.scopes,
        algorithm: algorithm(config.algorithm),
        leeway,
        login_timeout: config.login_timeout,
        max_logins: config.max_logins,
        max_logins_per_address: config.max_logins_per_address,
        timeout: config.timeout,
        max_bytes: config.max_bytes,
        max_session: config.max_session,
        ..crate::authn::oauth2::Settings::new(config.issuer, config.client_id, config.redirect_uri)
    }
}

fn proofs(config: config::Dpop) -> crate::authn::dpop::Settings {
    crate::authn::dpop::Settings {
        algorithms: config.algorithms.into_iter().map(algorithm).collect(),
        max_age: config.max_age,
        leeway: config.leeway,
        require_nonce: config.require_nonce,
        nonce_lifetime: config.nonce_lifetime,
        max_proofs: config.max_proofs,
        max_proofs_per_principal: config.max_proofs_per_principal,
    }
}

fn own_tokens(
    config: config::OwnTokens,
    idle: std::time::Duration,
    data: &std::path::Path,
) -> crate::authn::tokens::Settings {
    crate::authn::tokens::Settings {
        issuer: config.issuer.into(),
        audience: config.audience.into(),
        access: config.access,
        refresh: config.refresh,
        idle,
        grace: config.grace,
        leeway: config.leeway,
        max_sessions_per_key: config.max_sessions_per_key,
        max_token_bytes: config.max_token_bytes,
        cache_entries: config.token_cache,
        ..crate::authn::tokens::Settings::in_directory(data)
    }
}

fn memory(config: config::Memory, data: &std::path::Path) -> crate::memory::Settings {
    let defaults = crate::memory::Settings::in_directory(data);
    crate::memory::Settings {
        max_entities: config.max_entities,
        max_relations: config.max_relations,
        max_observations: config.max_observations,
        max_observation_bytes: config.max_observation_bytes,
        max_name_bytes: config.max_name_bytes,
        max_entity_bytes: config.max_entity_bytes,
        max_labels: config.max_labels,
        max_search_bytes: config.max_search_bytes,
        max_search_words: config.max_search_words,
        max_search_results: config.max_search_results,
        readers: std::num::NonZeroUsize::new(config.readers).unwrap_or(defaults.readers),
        queue: config.queue,
        deadline: config.deadline,
        database: defaults.database,
    }
}

fn attributes(config: config::Attributes, data: &std::path::Path) -> crate::attributes::Settings {
    crate::attributes::Settings {
        max_entities: config.max_entities,
        max_per_decision: config.max_per_decision,
        max_age: config.max_age,
        ..crate::attributes::Settings::in_directory(data)
    }
}

fn sandbox(config: config::Runtime) -> crate::sandbox::Settings {
    crate::sandbox::Settings {
        max_memory_bytes: (config.max_memory_pages as usize).saturating_mul(PAGE),
        max_wasm_stack: config.max_stack_size,
        fuel: config.fuel,
        max_execution_time: config.max_execution_time,
        max_input_bytes: config.max_input_bytes,
        max_output_bytes: config.max_output_bytes,
        max_message_bytes: config.max_message_bytes,
        max_module_bytes: config.max_module_bytes,
        compile_worker: None,
        max_compile_time: config.max_compile_time,
        max_compile_memory: config.max_compile_memory,
        max_instances: config.max_instances,
        max_queue_wait: config.queue_timeout,
        allowed_wasi_calls: config.allowed_wasi_calls,
    }
}

fn tools(
    mcp: config::Mcp,
    security: config::ToolSecurity,
    schema_dir: Option<std::path::PathBuf>,
) -> crate::tools::Settings {
    let defaults = crate::tools::Settings::default();
    let servers = mcp.servers.into_iter().map(|server| {
        let transport = match server.transport {
            config::Transport::Http { url, headers } => Transport::Http { url, headers },
            config::Transport::Stdio { command, args, env } => Transport::Stdio { command, args, env },
        };
        ServerSettings {
            connect_timeout: mcp.connect_timeout,
            call_timeout: server.timeout,
            actor_bound: server.actor_bound.into_iter().collect(),
            labels: server
                .labels
                .into_iter()
                .map(|(tool, labels)| (tool, labels.into_iter().map(Into::into).collect()))
                .collect(),
            ..ServerSettings::new(server.name, transport)
        }
    });
    crate::tools::Settings {
        servers: servers.collect(),
        auto_import: mcp.auto_import,
        schema_dir: schema_dir.unwrap_or(defaults.schema_dir),
        max_tools_per_server: mcp.max_tools_per_server,
        max_definition_bytes: mcp.max_definition_bytes,
        max_response_bytes: mcp.max_response_bytes,
        max_concurrent_calls: mcp.max_concurrent_calls,
        refresh_interval: mcp.refresh_interval,
        allowed_tools: security.allowed_tools.map(|names| names.into_iter().collect()),
        forbidden_tools: security.forbidden_tools.into_iter().collect(),
        ..defaults
    }
}
