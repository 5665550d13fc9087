//! The texts that are built into the program, so that it has a sound policy set without any file.

macro_rules! built_in {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../", $folder, "/", $file)))),*]
    };
}

/// Schemas by name.
pub(super) const SCHEMAS: &[(&str, &str)] =
    built_in!["schemas": "caxton.cedarschema", "tools/builtin.cedarschema"];

/// Policies by name.
pub(super) const POLICIES: &[(&str, &str)] = built_in![
    "policies":
    "agents.cedar",
    "auth.cedar",
    "memory.cedar",
    "messages.cedar",
    "permissions.cedar",
    "roles.cedar",
    "screening.cedar",
    "sessions.cedar",
    "system.cedar",
    "tools.cedar",
];
