//! The texts that are built into the program, so that it has a sound policy set without any file.

macro_rules! built_in {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../", $folder, "/", $file)))),*]
    };
}

/// Schemas by name.
pub(crate) const SCHEMAS: &[(&str, &str)] =
    built_in!["schemas": "caxton.cedarschema", "tools/builtin.cedarschema"];

/// Policies by name.
pub(crate) const POLICIES: &[(&str, &str)] = built_in![
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

/// Whether a text is one of these as it was shipped; an unchanged copy of one is.
pub(crate) fn is_shipped(source: &crate::policy::Source) -> bool {
    let texts = match source.kind {
        crate::policy::SourceKind::Schema => SCHEMAS,
        crate::policy::SourceKind::Policy => POLICIES,
        crate::policy::SourceKind::Links => &[],
    };
    let name = source.name.strip_prefix(LAYER).unwrap_or(&source.name);
    texts.iter().any(|(own, text)| *own == name && **text == *source.text)
}

/// What stands before the path of a text that others extend, which may have files of the same names.
pub(crate) const BUILT_IN: &str = "(shipped) ";
/// What stands before the name of a text that others extend.
pub(crate) const LAYER: &str = "shipped/";
