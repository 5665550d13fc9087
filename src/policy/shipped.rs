//! The texts that are built into the program, so that it has a sound policy set without any file.

/// Schemas by name.
pub(super) const SCHEMAS: &[(&str, &str)] =
    &[("caxton.cedarschema", include_str!("../../schemas/caxton.cedarschema"))];

/// Policies by name.
pub(super) const POLICIES: &[(&str, &str)] = &[];
