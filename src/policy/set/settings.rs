//! What an operator can choose about policies.

/// How the policy engine behaves. The defaults are the sound ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// What an error in a policy does to the decision.
    pub on_policy_error: OnPolicyError,
    /// How large a bundle may be.
    pub limits: Limits,
}

/// What an error in a policy does. There is no way to ignore an error in a forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnPolicyError {
    /// An error in a forbid denies; an error in a permit grants nothing and other permits stand.
    #[default]
    DenyOnForbidError,
    /// Any error denies.
    Deny,
}

impl OnPolicyError {
    /// The words of the configuration; the first is the default.
    pub const WORDS: [(&str, Self); 2] =
        [("deny_on_forbid_error", Self::DenyOnForbidError), ("deny", Self::Deny)];
}

/// Bounds on the files of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most files under one directory.
    pub files: usize,
    /// The most bytes in one file.
    pub file_bytes: usize,
    /// How deep directories may nest.
    pub depth: usize,
    /// The most policies, templates and links in all files.
    pub policies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: 4096, file_bytes: 16 * 1024 * 1024, depth: 8, policies: 200_000 }
    }
}
