//! Key sets and tokens as public providers publish them: their odd members and claims, with made-up values and keys of the test.
//!
//! A row is a provider. What stands beside the key that signs must not spoil it, and what stands in the token must come to the
//! principal, parents and tags that `docs/identity.md` says.

use std::sync::LazyLock;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};

use super::testing::*;
use super::*;
use crate::clock::ManualClock;

/// Another key of the provider, which has not signed the token.
static OTHER: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap());

/// What a provider publishes, and what the gateway makes of its token.
struct Shape {
    provider: &'static str,
    algorithm: JwtAlgorithm,
    issuer: &'static str,
    audience: &'static str,
    keys: Value,
    header: Value,
    claims: Value,
    expected: Expectation,
}

/// The gateway's answer.
enum Expectation {
    /// The subject of the principal, its parents, and some of its tags.
    Proven(&'static str, Vec<&'static str>, Vec<(&'static str, Vec<&'static str>)>),
    Refused(&'static str),
}
use Expectation::{Proven, Refused as NotProven};

/// Adds members to an object, and takes out those that are null.
fn with(mut object: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
            value => object[name] = value.clone(),
        }
    }
    object
}

/// The RSA key that signs, with the members that its provider adds.
fn rsa(kid: &str, more: Value) -> Value {
    with(public_jwk(JwtAlgorithm::Rs256, kid), more)
}

fn p256(kid: &str, more: Value) -> Value {
    with(public_jwk(JwtAlgorithm::Es256, kid), more)
}

fn other(kid: &str, more: Value) -> Value {
    let der = OTHER.public_key().as_ref();
    with(json!({ "kty": "RSA", "kid": kid, "n": encode(&der[9..265]), "e": "AQAB" }), more)
}

/// A certificate, of which only the name of the member counts here.
fn x5c() -> Value {
    json!(["MIIDBTCCAe2gAwIBAgIQ"])
}

fn keys(keys: impl IntoIterator<Item = Value>) -> Value {
    json!({ "keys": keys.into_iter().collect::<Vec<_>>() })
}

fn signed_by(kid: &str) -> Value {
    json!({ "alg": "RS256", "kid": kid, "typ": "JWT" })
}

/// Claims that hold, with those of the provider.
fn claims(more: Value) -> Value {
    with(json!({ "iat": NOW - 10, "exp": NOW + 300 }), more)
}

fn shapes() -> Vec<Shape> {
    people().into_iter().chain(organisations()).chain(self_hosted()).chain(workloads()).chain(odd()).collect()
}

/// Where people have accounts.
fn people() -> Vec<Shape> {
    let sig = json!({ "alg": "RS256", "use": "sig" });
    vec![
        Shape {
            provider: "Google",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://accounts.google.com",
            audience: "1234-abc.apps.googleusercontent.com",
            keys: keys([
                other("9b0285c31bfd8b040e03157b19c4e960bdc10c6f", sig.clone()),
                rsa("763f7c4cd26a1eb2", sig.clone()),
            ]),
            header: signed_by("763f7c4cd26a1eb2"),
            claims: claims(json!({
                "iss": "https://accounts.google.com", "azp": "1234-abc.apps.googleusercontent.com",
                "aud": "1234-abc.apps.googleusercontent.com", "sub": "110169484474386276334", "hd": "acme.example",
                "email": "vera@acme.example", "email_verified": true, "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
                "name": "Vera", "picture": "https://lh3.example/p.jpg",
            })),
            expected: Proven("110169484474386276334", vec![], vec![("hd", vec!["acme.example"])]),
        },
        Shape {
            provider: "Apple",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://appleid.apple.com",
            audience: "com.acme.caxton",
            keys: keys([other("lVHdOx8ltR", sig.clone()), rsa("pyaRQpAbnY", sig.clone())]),
            header: json!({ "kid": "pyaRQpAbnY", "alg": "RS256" }),
            claims: claims(json!({
                "iss": "https://appleid.apple.com", "aud": "com.acme.caxton", "sub": "001234.abcd.0912",
                "email": "x7@privaterelay.appleid.com", "email_verified": "true", "is_private_email": "true",
                "auth_time": NOW - 20, "nonce_supported": true, "c_hash": "x",
            })),
            expected: Proven("001234.abcd.0912", vec![], vec![("is_private_email", vec!["true"])]),
        },
        Shape {
            provider: "Firebase",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://securetoken.google.com/acme",
            audience: "acme",
            keys: keys([rsa("f1338ca26835863f671408f41738a7b49e740fc0", sig.clone()), other("k2", sig)]),
            header: signed_by("f1338ca26835863f671408f41738a7b49e740fc0"),
            claims: claims(json!({
                "iss": "https://securetoken.google.com/acme", "aud": "acme", "sub": "u1", "user_id": "u1",
                "auth_time": NOW - 60, "email": "vera@acme.example", "email_verified": false,
                "firebase": { "identities": { "email": ["vera@acme.example"] }, "sign_in_provider": "password" },
            })),
            expected: Proven(
                "u1",
                vec![],
                vec![
                    ("firebase.sign_in_provider", vec!["password"]),
                    ("firebase.identities.email", vec!["vera@acme.example"]),
                ],
            ),
        },
        Shape {
            provider: "Salesforce",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://login.salesforce.com",
            audience: "3MVG9",
            keys: keys([
                other("216", json!({ "alg": "RS256", "use": "sig" })),
                rsa("218", json!({ "alg": "RS256", "use": "sig" })),
            ]),
            header: json!({ "kid": "218", "typ": "JWT", "alg": "RS256" }),
            claims: claims(json!({
                "iss": "https://login.salesforce.com", "aud": ["3MVG9", "https://acme.my.salesforce.com"],
                "sub": "https://login.salesforce.com/id/00Dx/005x", "zoneinfo": "Europe/Berlin", "is_salesforce_integration_user": false,
                "photos": { "picture": "https://acme.file.force.com/F" }, "urls": { "rest": "https://acme.my.salesforce.com/services" },
                "active": true, "custom_attributes": {}, "custom_permissions": {},
            })),
            expected: Proven(
                "https://login.salesforce.com/id/00Dx/005x",
                vec![],
                vec![("zoneinfo", vec!["Europe/Berlin"])],
            ),
        },
    ]
}

/// Directories of organisations, as a service.
fn organisations() -> Vec<Shape> {
    let entra = json!({
        "use": "sig", "x5t": "kWbkha6qs8wsTnBwiNYOhHbnAw", "x5c": x5c(), "cloud_instance_name": "microsoftonline.com",
        "issuer": "https://login.microsoftonline.com/tid/v2.0",
    });
    vec![
        Shape {
            provider: "Microsoft Entra, version 2",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://login.microsoftonline.com/tid/v2.0",
            audience: "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            keys: keys([
                other("imi0Y2z0dYKxBttAqK_Tt5hYBTk", entra.clone()),
                rsa("kWbkha6qs8wsTnBwiNYOhHbnAw", entra.clone()),
            ]),
            header: signed_by("kWbkha6qs8wsTnBwiNYOhHbnAw"),
            claims: claims(json!({
                "iss": "https://login.microsoftonline.com/tid/v2.0", "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
                "nbf": NOW - 10, "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "ver": "2.0", "azpacr": "1",
                "groups": ["b1f0a7a4-0d9b-4b8e-9a1a-111111111111"], "roles": ["Task.Write"], "scp": "access_as_user",
                "wids": ["62e90394-69f5-4237-9190-012177145e10"], "rh": "0.AQ", "uti": "x", "xms_ftd": "y",
                "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": "https://graph.example" } },
            })),
            expected: Proven(
                "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
                vec!["Group::\"b1f0a7a4-0d9b-4b8e-9a1a-111111111111\"", "Role::\"Task.Write\""],
                vec![("scp", vec!["access_as_user"]), ("ver", vec!["2.0"])],
            ),
        },
        Shape {
            provider: "Microsoft Entra, version 1",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://sts.windows.net/tid/",
            audience: "api://caxton",
            keys: keys([rsa("kWbkha6qs8wsTnBwiNYOhHbnAw", with(entra, json!({ "issuer": null })))]),
            header: json!({ "typ": "JWT", "alg": "RS256", "x5t": "kWbkha6qs8wsTnBwiNYOhHbnAw", "kid": "kWbkha6qs8wsTnBwiNYOhHbnAw" }),
            claims: claims(json!({
                "iss": "https://sts.windows.net/tid/", "aud": "api://caxton", "nbf": NOW - 10, "sub": "s",
                "amr": ["pwd", "mfa"], "appid": "1b", "appidacr": "0", "unique_name": "vera@acme.example",
                "xms_st": { "sub": "other" }, "ver": "1.0",
            })),
            expected: Proven("s", vec![], vec![("amr", vec!["mfa", "pwd"]), ("xms_st.sub", vec!["other"])]),
        },
        Shape {
            provider: "Okta",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://acme.okta.com/oauth2/default",
            audience: "api://default",
            keys: keys([rsa(
                "hJkGlxH5pXqg5oS9L2ZzVuPpWDWyYiJnRQOGmAPJhO8",
                json!({ "alg": "RS256", "use": "sig" }),
            )]),
            header: json!({ "kid": "hJkGlxH5pXqg5oS9L2ZzVuPpWDWyYiJnRQOGmAPJhO8", "alg": "RS256" }),
            claims: claims(json!({
                "ver": 1, "jti": "AT.x", "iss": "https://acme.okta.com/oauth2/default", "aud": "api://default",
                "cid": "0oa1", "uid": "00u1", "scp": ["openid", "profile"], "auth_time": NOW - 60,
                "sub": "vera@acme.example", "groups": ["Everyone", "Caxton Admins"],
            })),
            expected: Proven(
                "vera@acme.example",
                vec!["Group::\"Caxton Admins\"", "Group::\"Everyone\""],
                vec![("scp", vec!["openid", "profile"])],
            ),
        },
        Shape {
            provider: "Auth0",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://acme.eu.auth0.com/",
            audience: "https://caxton.example",
            keys: keys([rsa(
                "RkI5MjI5",
                json!({ "alg": "RS256", "use": "sig", "x5c": x5c(), "x5t": "RkI5MjI5" }),
            )]),
            header: signed_by("RkI5MjI5"),
            claims: claims(json!({
                "iss": "https://acme.eu.auth0.com/", "sub": "auth0|6123", "azp": "my_client_id",
                "aud": ["https://caxton.example", "https://acme.eu.auth0.com/userinfo"], "scope": "openid profile read:agents",
                "permissions": ["agent:list"], "https://acme.example/roles": ["editor"], "gty": "password",
            })),
            expected: Proven(
                "auth0|6123",
                vec!["Role::\"agent:list\""],
                vec![
                    ("https://acme.example/roles", vec!["editor"]),
                    ("scope", vec!["openid", "profile", "read:agents"]),
                ],
            ),
        },
        Shape {
            provider: "AWS Cognito, ID token",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A",
            audience: "5k1",
            keys: keys([
                rsa("1234example=", json!({ "alg": "RS256", "use": "sig" })),
                other("5678example=", json!({ "alg": "RS256", "use": "sig" })),
            ]),
            header: json!({ "kid": "1234example=", "alg": "RS256" }),
            claims: claims(json!({
                "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A", "aud": "5k1", "sub": "aaaa-bbbb",
                "cognito:groups": ["ops"], "cognito:username": "vera", "cognito:roles": ["arn:aws:iam::1:role/r"],
                "token_use": "id", "event_id": "64f", "auth_time": NOW - 10, "email_verified": true,
                "identities": [{ "userId": "1", "providerName": "SAML", "primary": "true", "dateCreated": "1" }],
            })),
            expected: Proven(
                "aaaa-bbbb",
                vec![],
                vec![("cognito:groups", vec!["ops"]), ("token_use", vec!["id"])],
            ),
        },
        Shape {
            provider: "AWS Cognito, access token",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A",
            audience: "5k1",
            keys: keys([rsa("1234example=", json!({ "alg": "RS256", "use": "sig" }))]),
            header: json!({ "kid": "1234example=", "alg": "RS256" }),
            // It names its client, and no audience.
            claims: claims(json!({
                "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A", "client_id": "5k1", "sub": "aaaa-bbbb",
                "token_use": "access", "scope": "aws.cognito.signin.user.admin",
            })),
            expected: NotProven("audience_missing"),
        },
        Shape {
            provider: "OneLogin",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://acme.onelogin.com/oidc/2",
            audience: "d1",
            keys: keys([rsa("JRcO4nxs5jgc8YdN7I2hLO4V_ql1bdoiMXmcYgHm4Hs", json!({ "use": "sig" }))]),
            header: json!({ "alg": "RS256", "kid": "JRcO4nxs5jgc8YdN7I2hLO4V_ql1bdoiMXmcYgHm4Hs", "typ": "JWT" }),
            claims: claims(json!({
                "iss": "https://acme.onelogin.com/oidc/2", "aud": "d1", "sub": "63600", "groups": [], "params": {},
                "preferred_username": "vera", "sid": "x", "updated_at": NOW,
            })),
            expected: Proven("63600", vec![], vec![("preferred_username", vec!["vera"])]),
        },
        Shape {
            provider: "Cloudflare Access",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://acme.cloudflareaccess.com",
            audience: "32eafc7626e737a3",
            keys: with(
                keys([
                    rsa("1a1c3986a4", json!({ "alg": "RS256", "use": "sig" })),
                    other("6c3bffef71", json!({ "alg": "RS256", "use": "sig" })),
                ]),
                json!({
                    "public_cert": { "kid": "6c3bffef71", "cert": "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n" },
                    "public_certs": [{ "kid": "1a1c3986a4", "cert": "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n" }],
                }),
            ),
            header: json!({ "alg": "RS256", "kid": "1a1c3986a4" }),
            claims: claims(json!({
                "aud": ["32eafc7626e737a3"], "email": "vera@acme.example", "nbf": NOW - 10,
                "iss": "https://acme.cloudflareaccess.com", "type": "app", "identity_nonce": "6ei69kawdKzMIAPF",
                "sub": "7335d417-61da-459d-899c-0a01c76a2f94", "country": "DE", "custom": { "groups": ["eng"], "oid": "x" },
            })),
            expected: Proven(
                "7335d417-61da-459d-899c-0a01c76a2f94",
                vec![],
                vec![("country", vec!["DE"]), ("custom.groups", vec!["eng"])],
            ),
        },
    ]
}

/// Providers that organisations run themselves.
fn self_hosted() -> Vec<Shape> {
    let sig = json!({ "alg": "RS256", "use": "sig" });
    vec![
        Shape {
            provider: "Keycloak",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://login.example/realms/main",
            audience: "caxton",
            keys: keys([
                other(
                    "Xr8kV6cs",
                    json!({ "alg": "RSA-OAEP", "use": "enc", "x5c": x5c(), "x5t": "a", "x5t#S256": "b" }),
                ),
                p256("uJ8yGq", json!({ "alg": "ES256", "use": "sig" })),
                rsa("q0GWbT", with(sig.clone(), json!({ "x5c": x5c(), "x5t": "c", "x5t#S256": "d" }))),
            ]),
            header: json!({ "alg": "RS256", "typ": "JWT", "kid": "q0GWbT" }),
            claims: claims(json!({
                "auth_time": NOW - 60, "jti": "onrtro:1", "iss": "https://login.example/realms/main", "aud": ["caxton", "account"],
                "sub": "f:1:vera", "typ": "Bearer", "azp": "web", "sid": "s", "acr": "1", "allowed-origins": ["https://web.example"],
                "realm_access": { "roles": ["offline_access", "auditor"] },
                "resource_access": { "account": { "roles": ["view-profile"] } }, "scope": "profile email",
                "email_verified": true, "email": "vera@acme.example", "groups": ["/eng/platform"], "roles": ["viewer"],
            })),
            expected: Proven(
                "f:1:vera",
                vec!["Group::\"/eng/platform\"", "Role::\"viewer\""],
                vec![
                    ("realm_access.roles", vec!["auditor", "offline_access"]),
                    ("resource_access.account.roles", vec!["view-profile"]),
                ],
            ),
        },
        Shape {
            provider: "PingFederate",
            algorithm: JwtAlgorithm::Es256,
            issuer: "https://sso.acme.example",
            audience: "caxton",
            keys: keys([
                other("r1", json!({ "use": "sig", "x5t": "a" })),
                json!({ "kty": "EC", "kid": "e384", "use": "sig", "crv": "P-384", "x": "AAAA", "y": "AAAA" }),
                json!({ "kty": "EC", "kid": "e521", "use": "sig", "crv": "P-521", "x": "AAAA", "y": "AAAA" }),
                p256("e256", json!({ "use": "sig" })),
            ]),
            header: json!({ "alg": "ES256", "kid": "e256", "pi.atm": "8e5h" }),
            claims: claims(json!({
                "scope": ["openid", "edit"], "client_id": "caxton", "iss": "https://sso.acme.example", "aud": "caxton",
                "sub": "vera", "OrgName": "Acme", "memberOf": ["cn=ops,dc=acme", "cn=eu,dc=acme"],
            })),
            expected: Proven(
                "vera",
                vec![],
                vec![
                    ("memberOf", vec!["cn=eu,dc=acme", "cn=ops,dc=acme"]),
                    ("scope", vec!["edit", "openid"]),
                ],
            ),
        },
        Shape {
            provider: "Zitadel",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://id.acme.example",
            audience: "69234237810729019",
            keys: keys([other("69543898806189849", sig.clone()), rsa("259541095499202822", sig.clone())]),
            header: json!({ "alg": "RS256", "kid": "259541095499202822", "typ": "JWT" }),
            claims: claims(json!({
                "iss": "https://id.acme.example", "aud": ["69234237810729019", "259254020357488901"], "sub": "259241944654282754",
                "client_id": "69234237810729019", "jti": "V2", "urn:zitadel:iam:org:project:roles": { "editor": { "2592": "acme.example" } },
                "urn:zitadel:iam:user:metadata": { "team": "b3Bz" },
            })),
            expected: Proven(
                "259241944654282754",
                vec![],
                vec![("urn:zitadel:iam:org:project:roles.editor.2592", vec!["acme.example"])],
            ),
        },
        Shape {
            provider: "Dex",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://dex.acme.example",
            audience: "caxton",
            keys: keys([rsa("f3ed4b0e6c", sig.clone()), other("8d1bb2d0", sig.clone())]),
            header: json!({ "alg": "RS256", "kid": "f3ed4b0e6c" }),
            claims: claims(json!({
                "iss": "https://dex.acme.example", "sub": "CgcyMzQyNzQ5EgZnaXRodWI", "aud": "caxton", "at_hash": "x",
                "email": "vera@acme.example", "email_verified": true, "groups": ["acme:platform"], "name": "Vera",
                "federated_claims": { "connector_id": "github", "user_id": "2342749" },
            })),
            expected: Proven(
                "CgcyMzQyNzQ5EgZnaXRodWI",
                vec!["Group::\"acme:platform\""],
                vec![("federated_claims.connector_id", vec!["github"])],
            ),
        },
        Shape {
            provider: "Ory Hydra",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://hydra.acme.example/",
            audience: "caxton",
            keys: keys([
                rsa("public:hydra.jwt.access-token", sig.clone()),
                other("public:hydra.openid.id-token", with(sig.clone(), json!({ "x5c": [] }))),
            ]),
            header: json!({ "alg": "RS256", "kid": "public:hydra.jwt.access-token", "typ": "JWT" }),
            claims: claims(json!({
                "iss": "https://hydra.acme.example/", "sub": "vera", "aud": ["caxton"], "client_id": "web", "jti": "j",
                "nbf": NOW - 10, "scp": ["offline", "read"], "ext": { "tenant": "acme" },
            })),
            expected: Proven(
                "vera",
                vec![],
                vec![("ext.tenant", vec!["acme"]), ("scp", vec!["offline", "read"])],
            ),
        },
        Shape {
            provider: "Authentik",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://auth.acme.example/application/o/caxton/",
            audience: "QzEx",
            keys: keys([rsa(
                "5d4c6a",
                with(sig.clone(), json!({ "x5c": x5c(), "x5t": "a", "x5t#S256": "b" })),
            )]),
            header: json!({ "alg": "RS256", "kid": "5d4c6a", "typ": "JWT" }),
            claims: claims(json!({
                "iss": "https://auth.acme.example/application/o/caxton/", "sub": "b3c1a7d2e9", "aud": "QzEx",
                "acr": "goauthentik.io/providers/oauth2/default", "azp": "QzEx", "uid": "u", "amr": ["pwd"],
                "groups": ["authentik Admins"], "entitlements": [], "roles": [], "ak_proxy": { "user_attributes": {}, "is_superuser": false },
            })),
            expected: Proven("b3c1a7d2e9", vec!["Group::\"authentik Admins\""], vec![("amr", vec!["pwd"])]),
        },
    ]
}

/// Issuers of tokens for programs.
fn workloads() -> Vec<Shape> {
    let sig = json!({ "alg": "RS256", "use": "sig" });
    vec![
        Shape {
            provider: "GitHub Actions",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://token.actions.githubusercontent.com",
            audience: "caxton",
            keys: keys([
                other(
                    "1F2AB83404C08EC9EA0BB99DAED02186B091DBF4",
                    with(sig.clone(), json!({ "x5c": x5c(), "x5t": "a" })),
                ),
                rsa(
                    "DA6DD449E0E809599CECDFB3BDB6A2D7D0C2503A",
                    with(sig.clone(), json!({ "x5c": x5c(), "x5t": "b" })),
                ),
            ]),
            header: json!({ "typ": "JWT", "alg": "RS256", "x5t": "b", "kid": "DA6DD449E0E809599CECDFB3BDB6A2D7D0C2503A" }),
            claims: claims(json!({
                "jti": "example-id", "sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod", "aud": "caxton",
                "ref": "refs/heads/main", "repository": "octo-org/octo-repo", "repository_owner_id": "65", "actor_id": "12",
                "run_attempt": "2", "workflow": "deploy", "head_ref": "", "base_ref": "", "event_name": "push",
                "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
                "iss": "https://token.actions.githubusercontent.com", "nbf": NOW - 10,
            })),
            expected: Proven(
                "repo:octo-org/octo-repo:environment:prod",
                vec![],
                vec![("ref", vec!["refs/heads/main"]), ("repository", vec!["octo-org/octo-repo"])],
            ),
        },
        Shape {
            provider: "GitLab CI",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://gitlab.example",
            audience: "https://caxton.example",
            keys: keys([
                other("kewiQq9jiC84CvSsJYOB-N6A8WFLSV20Mb-y7IlWDSQ", sig.clone()),
                rsa("4i3sFE7sxqNPOT7FdvcGA1ZVGGI_r-tsDXnEuYT4ZqE", sig.clone()),
            ]),
            header: signed_by("4i3sFE7sxqNPOT7FdvcGA1ZVGGI_r-tsDXnEuYT4ZqE"),
            claims: claims(json!({
                "namespace_id": "72", "project_path": "my-group/my-project", "user_login": "sample-user", "user_access_level": "developer",
                "user_identities": [{ "provider": "github", "extern_uid": "2435223452345" }], "pipeline_source": "push",
                "ref_protected": "false", "groups_direct": ["mygroup/mysubgroup"], "sub": "project_path:my-group/my-project:ref_type:branch:ref:main",
                "iss": "https://gitlab.example", "aud": "https://caxton.example", "nbf": NOW - 10, "jti": "235b3a54",
            })),
            expected: Proven(
                "project_path:my-group/my-project:ref_type:branch:ref:main",
                vec![],
                vec![("groups_direct", vec!["mygroup/mysubgroup"]), ("ref_protected", vec!["false"])],
            ),
        },
        Shape {
            provider: "Kubernetes service account",
            algorithm: JwtAlgorithm::Rs256,
            issuer: "https://kubernetes.default.svc.cluster.local",
            audience: "caxton",
            keys: keys([rsa("R1Cyj9xPs3OpPBpYMtNX7Ei9xFEZ3pR0dHsPDSQAuEg", sig.clone())]),
            header: json!({ "alg": "RS256", "kid": "R1Cyj9xPs3OpPBpYMtNX7Ei9xFEZ3pR0dHsPDSQAuEg" }),
            claims: claims(json!({
                "aud": ["caxton"], "iss": "https://kubernetes.default.svc.cluster.local", "jti": "aed34954", "nbf": NOW - 10,
                "kubernetes.io": {
                    "namespace": "shop", "node": { "name": "n1", "uid": "646e7c5e" }, "pod": { "name": "builder-0", "uid": "5e0bd49b" },
                    "serviceaccount": { "name": "builder", "uid": "14ee3fa4" }, "warnafter": NOW + 200,
                },
                "sub": "system:serviceaccount:shop:builder",
            })),
            expected: Proven(
                "system:serviceaccount:shop:builder",
                vec![],
                vec![
                    ("kubernetes.io.namespace", vec!["shop"]),
                    ("kubernetes.io.serviceaccount.name", vec!["builder"]),
                ],
            ),
        },
        Shape {
            provider: "SPIFFE bundle and JWT-SVID",
            algorithm: JwtAlgorithm::Es256,
            issuer: "https://oidc.prod.example",
            audience: "spiffe://prod.example/caxton",
            keys: with(
                keys([
                    p256("x", json!({ "kid": null, "use": "x509-svid", "x5c": x5c() })),
                    p256("C6vs25welZOx6WksNYfbMfiw9l96pMnD", json!({ "use": "jwt-svid" })),
                ]),
                json!({ "spiffe_sequence": 12_035_488, "spiffe_refresh_hint": 2_419_200 }),
            ),
            header: json!({ "alg": "ES256", "kid": "C6vs25welZOx6WksNYfbMfiw9l96pMnD", "typ": "JWT" }),
            claims: claims(json!({
                "aud": ["spiffe://prod.example/caxton"], "iss": "https://oidc.prod.example", "sub": "spiffe://prod.example/pay",
            })),
            expected: Proven("spiffe://prod.example/pay", vec![], vec![]),
        },
    ]
}

/// Sets that mix everything, and what refuses a set or a token as a whole.
fn odd() -> Vec<Shape> {
    let plain = |provider, keys, header, expected| Shape {
        provider,
        algorithm: JwtAlgorithm::Rs256,
        issuer: "https://login.example",
        audience: "caxton",
        keys,
        header,
        claims: claims(
            json!({ "iss": "https://login.example", "aud": "caxton", "sub": "vera", "nickname": null }),
        ),
        expected,
    };
    let vera = || Proven("vera", vec![], vec![]);
    vec![
        plain(
            "numeric and missing kids beside the key that signs",
            keys([other("x", json!({ "kid": 1 })), p256("x", json!({ "kid": null })), rsa("2", json!({}))]),
            signed_by("2"),
            vera(),
        ),
        plain(
            "one kid for signing and encrypting",
            keys([other("main", json!({ "use": "enc" })), rsa("main", json!({ "use": "sig" }))]),
            signed_by("main"),
            vera(),
        ),
        plain(
            "one key without a kid",
            keys([rsa("x", json!({ "kid": null }))]),
            json!({ "alg": "RS256" }),
            vera(),
        ),
        plain(
            "key_ops in place of use",
            keys([
                other("a", json!({ "key_ops": ["encrypt", "wrapKey"] })),
                rsa("b", json!({ "key_ops": ["verify"] })),
            ]),
            signed_by("b"),
            vera(),
        ),
        plain(
            "a token for a key that is not there",
            keys([other("a", json!({}))]),
            signed_by("b"),
            NotProven("unknown_key"),
        ),
    ]
}

/// A verifier with the set of the provider, as the operator would configure it.
fn verifier(shape: &Shape) -> Result<TokenVerifier, AuthnError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, shape.keys.to_string()).unwrap();
    let settings = Settings {
        jwks: Some((shape.algorithm, JwksPlace::File(path))),
        issuer: shape.issuer.into(),
        audience: shape.audience.into(),
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::at_millis(NOW * 1000));
    TokenVerifier::new(settings, clock, Arc::new(Metrics::new()))
}

#[test]
fn what_public_providers_publish_is_read_and_what_their_tokens_say_is_known() {
    let shapes = shapes();
    assert!(shapes.len() >= 20);
    for shape in &shapes {
        let name = shape.provider;
        let verifier = verifier(shape).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let token = token_of(shape.algorithm, &shape.header.to_string(), &shape.claims.to_string());
        let proven = verifier.verify(&token);
        let (subject, parents, tags) = match (&shape.expected, &proven) {
            (Proven(subject, parents, tags), Ok(_)) => (subject, parents, tags),
            (NotProven(reason), Err(refused)) if refused.reason == *reason => continue,
            (_, found) => panic!("{name}: {found:?}"),
        };
        let entity = proven.as_ref().unwrap().entity();
        assert_eq!(entity.uid.id(), format!("{}|{subject}", shape.issuer), "{name}");
        let mut found: Vec<String> = entity.parents.iter().map(ToString::to_string).collect();
        found.sort();
        let expected: Vec<String> = parents.iter().map(|parent| format!("Caxton::{parent}")).collect();
        assert_eq!(found, expected, "{name}");
        for (tag, values) in tags {
            let found = entity.tags.get(*tag).unwrap_or_else(|| panic!("{name}: no tag {tag}"));
            assert_eq!(*found, crate::model::Value::texts(values), "{name}: {tag}");
        }
        let email = shape.claims["email"].as_str().filter(|_| shape.claims["email_verified"] != json!(false));
        let known = entity.attributes.get("email");
        assert_eq!(known, email.map(crate::model::Value::text).as_ref(), "{name}");
    }
}

#[test]
fn a_set_with_a_shared_secret_in_it_is_refused_and_says_so() {
    let secret = json!({ "kty": "oct", "kid": "hs", "alg": "HS256", "use": "sig", "k": "c2VjcmV0" });
    let shape = Shape { keys: keys([rsa("a", json!({})), secret]), ..odd().remove(0) };
    let error = verifier(&shape).unwrap_err();
    let AuthnError::KeySet { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("a private or shared key"), "{source}");
}

#[test]
fn a_claim_inside_of_others_is_a_tag_of_its_path_and_hides_no_other() {
    let long = "x".repeat(300);
    let shape = Shape {
        claims: claims(json!({
            "iss": "https://login.example", "aud": "caxton", "sub": "vera",
            "a": { "b": "inner", "n": 1, "list": [{ "c": "d" }], "e": { "f": { "g": { "h": "deep", "i": { "j": "deeper" } } } } },
            "a.b": "own", (long): { "x": "y" }, "act_of": { "roles": ["admin"] },
        })),
        ..odd().remove(0)
    };
    let token = token_of(shape.algorithm, &shape.header.to_string(), &shape.claims.to_string());
    let subject = verifier(&shape).unwrap().verify(&token).unwrap();
    let tags: Vec<&str> = subject.entity().tags.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(tags, ["a.b", "a.e.f.g.h", "act_of.roles"]);
    assert_eq!(*subject.entity().tags.get("a.b").unwrap(), crate::model::Value::texts(["own"]));
    assert!(subject.entity().parents.is_empty(), "a tag is no role");
}
