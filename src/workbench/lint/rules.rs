//! The rules as they are told: what each finds, why that matters, and a bad and a good example. The page `docs/lint.md`
//! is made from this table, and each example is run by a test.

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// What is written does not do what its author must have meant.
    Error,
    /// Most likely a slip, or a gap.
    Warning,
    /// A matter of order.
    Note,
}

impl Severity {
    /// The word for it, which is also SARIF's level.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name, which does not change.
    pub id: &'static str,
    /// How much a finding matters.
    pub severity: Severity,
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
    severity: Severity::Error,
    finds: "a URL compared with `like`",
    reason: "`*` matches any text, so `like \"https://*.example.org/*\"` also matches `https://evil.net/.example.org/`",
    help: "compare the host itself, with `==` or with `contains` on a set of hosts",
    bad: "permit (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.id like \"https://*.example.org/*\" };",
    good: "permit (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.id == \"https://example.org\" };",
};

pub(super) const OPEN_PERMIT: Rule = Rule {
    id: "open-permit",
    severity: Severity::Error,
    finds: "a `permit` for every principal and every action",
    reason: "it permits every action to every principal that meets its conditions, also actions that are added later",
    help: "say whom it is for (`principal in …`) or what it is about (`action in …`)",
    bad: "permit (principal, action, resource)\nwhen { context.source.mtls };",
    good: "permit (principal is Caxton::Workload, action == Caxton::Action::\"metrics:read\", resource)\nwhen { context.source.mtls };",
};

pub(super) const FORBID_CAN_ERR: Rule = Rule {
    id: "forbid-can-err",
    severity: Severity::Warning,
    finds: "a `forbid` with arithmetic on numbers or times",
    reason: "it can overflow, and then every request it is about is denied",
    help: "compare without arithmetic",
    bad: "forbid (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.denied * 2 > context.session.tool_calls };",
    good: "forbid (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.denied > 10 };",
};

pub(super) const SHADOWED: Rule = Rule {
    id: "shadowed",
    severity: Severity::Warning,
    finds: "a policy that never decides because another one of the same effect, without conditions, covers its scope",
    reason: "a reader believes that it has an effect",
    help: "remove it, or narrow the other one",
    bad: "permit (principal is Caxton::Agent, action in Caxton::Action::\"tool:*\", resource);\n@id(\"example.second\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed };",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed };",
};

pub(super) const NEVER_MATCHES: Rule = Rule {
    id: "never-matches",
    severity: Severity::Error,
    finds: "a scope that no request of the schema matches",
    reason: "the policy has no effect",
    help: "look at what the schema says the action applies to",
    bad: "permit (principal is Caxton::User, action == Caxton::Action::\"model:call\", resource);",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"model:call\", resource);",
};

pub(super) const BYPASSED: Rule = Rule {
    id: "bypassed-limit",
    severity: Severity::Error,
    finds: "a `permit` whose limit on the request a broader `permit` does not have",
    reason: "permits add up: what one of them does not allow, the broader one does, so the limit limits nothing",
    help: "write the limit as a `forbid` with the negated condition, and leave the grant to the broader permit",
    bad: "permit (principal is Caxton::Agent, action == Caxton::Action::\"builtin___csv_parser\", resource)\nwhen { context.input has max_rows && context.input.max_rows <= 1000 };\n@id(\"example.second\")\npermit (principal is Caxton::Agent, action in Caxton::Action::\"tool:call\", resource is Caxton::Tool)\nwhen { principal.tools.contains(resource.id) };",
    good: "@reason(\"1,000 rows at most\")\nforbid (principal is Caxton::Agent, action == Caxton::Action::\"builtin___csv_parser\", resource)\nunless { context.input has max_rows && context.input.max_rows <= 1000 };\n@id(\"example.second\")\npermit (principal is Caxton::Agent, action in Caxton::Action::\"tool:call\", resource is Caxton::Tool)\nwhen { principal.tools.contains(resource.id) };",
};

pub(super) const UNKNOWN_NAME: Rule = Rule {
    id: "unknown-name",
    severity: Severity::Error,
    finds: "an entity that neither a test nor, with `--config`, the gateway has",
    reason: "a policy about something that is not there never holds, and a misspelt name is legal",
    help: "write the name as it is elsewhere, or list the entity in a test",
    bad: "permit (principal in Caxton::Workspace::\"suport\", action == Caxton::Action::\"tool:list\", resource);",
    good: "permit (principal in Caxton::Workspace::\"support\", action == Caxton::Action::\"tool:list\", resource);",
};

pub(super) const OTHER_FILE: Rule = Rule {
    id: "other-file",
    severity: Severity::Note,
    finds: "an `@id` that begins with the name of another file of policies",
    reason: "a reader looks for it in the other file",
    help: "move the policy to that file, or give it an `@id` that begins with the name of its own",
    bad: "",
    good: "",
};

pub(super) const UNLINKED: Rule = Rule {
    id: "unlinked-template",
    severity: Severity::Error,
    finds: "a template that nothing links",
    reason: "a template alone decides nothing",
    help: "link it in a file `*.links.yaml` beside it, or write a name in place of `?principal` and `?resource`",
    bad: "permit (principal == ?principal, action == Caxton::Action::\"tool:list\", resource);",
    good: "permit (principal == Caxton::Agent::\"clerk\", action == Caxton::Action::\"tool:list\", resource);",
};

pub(super) const CONSTANT: Rule = Rule {
    id: "constant-condition",
    severity: Severity::Error,
    finds: "a part of a condition that is always true or always false",
    reason: "it looks like a check and checks nothing",
    help: "remove it, or compare with what was meant",
    bad: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.name == principal.name };",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.name == \"researcher\" };",
};

pub(super) const REPEATED: Rule = Rule {
    id: "repeated-part",
    severity: Severity::Warning,
    finds: "the same part twice among those that one `&&` or one `||` joins",
    reason: "the second is redundant; most often it was copied and should have been changed",
    help: "remove it, or write what was meant",
    bad: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed && context.source.tls && principal.signed };",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed && context.source.tls };",
};

pub(super) const SEVERITY: Rule = Rule {
    id: "unknown-severity",
    severity: Severity::Note,
    finds: "a `@severity` other than `low`, `medium`, `high` and `critical`",
    reason: "a filter by severity does not find it",
    help: "write one of the four",
    bad: "@severity(\"hihg\")\n@reason(\"no\")\nforbid (principal, action == Caxton::Action::\"tool:list\", resource);",
    good: "@severity(\"high\")\n@reason(\"no\")\nforbid (principal, action == Caxton::Action::\"tool:list\", resource);",
};

pub(super) const REASON_ON_PERMIT: Rule = Rule {
    id: "reason-on-permit",
    severity: Severity::Warning,
    finds: "a `permit` with `@reason`",
    reason: "the text is shown to a caller that the policy denies, and a permit denies none: perhaps a `forbid` was meant",
    help: "use `@description`, or make it a `forbid`",
    bad: "@reason(\"agents see their tools\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
    good: "@description(\"Agents see their tools.\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
};

pub(super) const UNTESTED: Rule = Rule {
    id: "missing-test",
    severity: Severity::Warning,
    finds: "a policy that holds in no test",
    reason: "no test shows that it does what it says; the next change can break it unnoticed",
    help: "add a test that expects it under `policies`",
    bad: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
    good: "permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);",
};

/// Every rule.
pub const RULES: [Rule; 14] = [
    BYPASSED,
    UNKNOWN_NAME,
    URL_LIKE,
    OPEN_PERMIT,
    NEVER_MATCHES,
    CONSTANT,
    UNLINKED,
    FORBID_CAN_ERR,
    SHADOWED,
    REPEATED,
    REASON_ON_PERMIT,
    UNTESTED,
    SEVERITY,
    OTHER_FILE,
];

/// The page about the rules.
pub fn page() -> String {
    let mut page = String::from(
        "# Lint rules\n\n`caxton policy lint` finds what is legal but most likely not meant. The exit code is 0 when nothing was found, 1 when\n\
         something was, 2 when the policies are broken. `--format json` prints the findings, `--format sarif` prints them for code\n\
         hosts (`--sarif FILE` writes that beside). `--without RULE` leaves a rule out. The shipped policies have no finding.\n\n\
         Findings are about your own policies; `--all` adds those about shipped ones that stand beside them. They come by severity\n\
         and rule; of one rule 20 are shown, and the last line sums all of them up.\n\n\
         This page is made from the rules themselves, and every example is run by a test.\n",
    );
    for rule in RULES {
        let Rule { id, severity, finds, reason, help, bad, good } = rule;
        let severity = severity.as_str();
        page.push_str(&format!("\n## {id}\n\n{severity}: finds {finds}; {reason}.\n\nInstead: {help}.\n"));
        if [UNTESTED, UNKNOWN_NAME].contains(&rule) {
            page.push_str("\nIt is asked only where there are tests, or with `--config`.\n");
        }
        if !bad.is_empty() && rule != UNTESTED {
            page.push_str(&format!("\nBad:\n\n```cedar\n{bad}\n```\n\nGood:\n\n```cedar\n{good}\n```\n"));
        }
    }
    page
}
