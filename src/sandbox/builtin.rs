//! The guests that come with the gateway. Their sources and recipe are in `examples/guests/`; the bytes are
//! checked in with their digests, and `tests/guests-rebuild` proves that they come from those sources.

/// The built-in tools: name, module bytes, MCP tool definition (JSON).
pub fn builtin_tools() -> [(&'static str, &'static [u8], &'static str); 2] {
    [
        ("csv_parser", include_bytes!("guests/csv_parser.wasm"), include_str!("guests/csv_parser.tool.json")),
        (
            "json_validator",
            include_bytes!("guests/json_validator.wasm"),
            include_str!("guests/json_validator.tool.json"),
        ),
    ]
}

/// The bytes of a built-in agent handler.
pub fn builtin_handler(name: &str) -> Option<&'static [u8]> {
    match name {
        "echo_agent" => Some(include_bytes!("guests/echo_agent.wasm")),
        _ => None,
    }
}
