//! Names of OpenTelemetry's semantic conventions: those of HTTP and services (1.40), and of generative AI and MCP
//! (`semantic-conventions-genai` 0.1.0, status Development: they may change with a release of Caxton).

/// The program.
pub(super) const SERVICE_NAME: &str = "service.name";
/// Its version.
pub(super) const SERVICE_VERSION: &str = "service.version";
/// The method of a request.
pub(super) const HTTP_METHOD: &str = "http.request.method";
/// The template of its route.
pub(super) const HTTP_ROUTE: &str = "http.route";
/// The status of its answer.
pub(super) const HTTP_STATUS: &str = "http.response.status_code";
/// How something failed.
pub(super) const ERROR_TYPE: &str = "error.type";
/// The method of an MCP message.
pub(super) const MCP_METHOD: &str = "mcp.method.name";
/// The tool that is called.
pub(super) const TOOL_NAME: &str = "gen_ai.tool.name";
/// What is done.
pub(super) const OPERATION: &str = "gen_ai.operation.name";
/// The operation of a tool call.
pub(super) const EXECUTE_TOOL: &str = "execute_tool";
