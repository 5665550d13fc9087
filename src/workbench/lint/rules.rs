//! The rules as they are told: what each finds, why that matters, and a bad and a good example. The page `docs/lint.md`
//! is made from this table, and each example is run by a test.

use serde::Serialize;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name, which does not change.
    pub id: &'static str,
    /// What it finds.
    pub finds: &'static str,
    /// Why that matters.
    pub reason: &'static str,
    /// What to do instead.
    pub help: &'static str,
    /// A policy that it finds.
    pub bad: &'static str,
    /// The same as it should be.
    pub good: &'static str,
}

pub(super) const URL_LIKE: Rule = Rule {
    id: "url-like",
    finds: "a URL compared with `like`",
    reason: "`*` matches any text, so `like \"https://*.example.org/*\"` also matches `https://evil.net/.example.org/`",
    help: "compare the host itself, with `==` or with `contains` on a set of hosts",
    bad: "permit (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.id like \"https://*.example.org/*\" };",
    good: "permit (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.id == \"https://example.org\" };",
};

pub(super) const OPEN_PERMIT: Rule = Rule {
    id: "open-permit",
    finds: "a `permit` for every principal and every action",
    reason: "it permits every action to every principal that meets its conditions, also actions that are added later",
    help: "say whom it is for (`principal in …`) or what it is about (`action in …`)",
    bad: "permit (principal, action, resource)\nwhen { context.source.mtls };",
    good: "permit (principal is Caxton::Workload, action == Caxton::Action::\"metrics:read\", resource)\nwhen { context.source.mtls };",
};

pub(super) const FORBID_CAN_ERR: Rule = Rule {
    id: "forbid-can-err",
    finds: "a `forbid` that reckons with numbers or times",
    reason: "it can overflow, and then every request it is about is denied",
    help: "compare without reckoning",
    bad: "forbid (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.denied * 2 > context.session.tool_calls };",
    good: "forbid (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.denied > 10 };",
};

pub(super) const SHADOWED: Rule = Rule {
    id: "shadowed",
    finds: "a policy that never decides because another one of the same effect, without conditions, covers its scope",
    reason: "a reader believes that it has an effect",
    help: "remove it, or narrow the other one",
    bad: "permit (principal is Caxton::Agent, action in Caxton::Action::\"tool:*\", resource);\n@id(\"example.second\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed };",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed };",
};

pub(super) const NEVER_MATCHES: Rule = Rule {
    id: "never-matches",
    finds: "a scope that no request of the schema matches",
    reason: "the policy has no effect",
    help: "look at what the schema says the action applies to",
    bad: "permit (principal is Caxton::User, action == Caxton::Action::\"model:call\", resource);",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"model:call\", resource);",
};

pub(super) const CONSTANT: Rule = Rule {
    id: "constant-condition",
    finds: "a part of a condition that is always true or always false",
    reason: "it looks like a check and checks nothing",
    help: "remove it, or compare with what was meant",
    bad: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.name == principal.name };",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.name == \"researcher\" };",
};

pub(super) const REPEATED: Rule = Rule {
    id: "repeated-part",
    finds: "the same part twice among those that one `&&` or one `||` joins",
    reason: "the second says nothing; most often it was copied and something else was meant",
    help: "remove it, or write what was meant",
    bad: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed && context.source.tls && principal.signed };",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed && context.source.tls };",
};

pub(super) const SEVERITY: Rule = Rule {
    id: "unknown-severity",
    finds: "a `@severity` other than `low`, `medium`, `high` and `critical`",
    reason: "a filter by severity does not find it",
    help: "write one of the four",
    bad: "@severity(\"hihg\")\n@reason(\"no\")\nforbid (principal, action == Caxton::Action::\"tool:list\", resource);",
    good: "@severity(\"high\")\n@reason(\"no\")\nforbid (principal, action == Caxton::Action::\"tool:list\", resource);",
};

pub(super) const REASON_ON_PERMIT: Rule = Rule {
    id: "reason-on-permit",
    finds: "a `permit` with `@reason`",
    reason: "the text is shown to a caller that the policy denies, and a permit denies none: perhaps a `forbid` was meant",
    help: "use `@description`, or make it a `forbid`",
    bad: "@reason(\"agents see their tools\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
    good: "@description(\"Agents see their tools.\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
};

pub(super) const UNTESTED: Rule = Rule {
    id: "missing-test",
    finds: "a policy that holds in no test",
    reason: "no test shows that it does what it says; the next change can break it unnoticed",
    help: "add a test that expects it under `policies`",
    bad: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
};

/// Every rule.
pub const RULES: [Rule; 10] = [
    URL_LIKE,
    OPEN_PERMIT,
    FORBID_CAN_ERR,
    SHADOWED,
    NEVER_MATCHES,
    CONSTANT,
    REPEATED,
    SEVERITY,
    REASON_ON_PERMIT,
    UNTESTED,
];

/// The page about the rules.
pub fn page() -> String {
    let mut page = String::from(
        "# Lint rules\n\n`caxton policy lint` finds what is legal but most likely not meant. The exit code is 0 when nothing was found, 1 when\n\
         something was, 2 when the policies are broken. `--format json` prints the findings, `--format sarif` prints them for code\n\
         hosts (`--sarif FILE` writes that beside). `--without RULE` leaves a rule out. The shipped policies have no finding.\n\n\
         This page is made from the rules themselves, and every example is run by a test.\n",
    );
    for rule in RULES {
        let Rule { id, finds, reason, help, bad, good } = rule;
        page.push_str(&format!("\n## {id}\n\nFinds {finds}: {reason}.\n\nInstead: {help}.\n\n"));
        match rule == UNTESTED {
            true => page.push_str("It is asked only where there are tests.\n"),
            false => {
                page.push_str(&format!("Bad:\n\n```cedar\n{bad}\n```\n\nGood:\n\n```cedar\n{good}\n```\n"))
            }
        }
    }
    page
}
