//! The guests that come with the gateway. Their sources and recipe are in `examples/guests/`; the bytes are
//! checked in with their digests, and `tests/guests-rebuild` proves that they come from those sources.

/// A tool that is part of this program.
#[derive(Debug, Clone, Copy)]
pub struct BuiltinTool {
    /// Its name on the server `builtin`.
    pub name: &'static str,
    /// The module.
    pub wasm: &'static [u8],
    /// MCP tool definition, JSON.
    pub definition: &'static str,
    /// The most instructions of a call: about four times what the largest sensible input takes.
    pub fuel: u64,
}

/// The built-in tools.
pub fn builtin_tools() -> [BuiltinTool; 2] {
    [
        BuiltinTool {
            name: "csv_parser",
            wasm: include_bytes!("guests/csv_parser.wasm"),
            definition: include_str!("guests/csv_parser.tool.json"),
            fuel: 2_500_000_000,
        },
        BuiltinTool {
            name: "json_validator",
            wasm: include_bytes!("guests/json_validator.wasm"),
            definition: include_str!("guests/json_validator.tool.json"),
            fuel: 400_000_000,
        },
    ]
}

/// The bytes of a built-in agent handler.
pub fn builtin_handler(name: &str) -> Option<&'static [u8]> {
    match name {
        "echo_agent" => Some(include_bytes!("guests/echo_agent.wasm")),
        _ => None,
    }
}
