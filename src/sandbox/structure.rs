//! Bounds on what a module consists of, checked before any of it is compiled.
//!
//! Compiling takes time and memory that grow faster than a module: with the size of its largest function, its locals
//! and its blocks. A module within these bounds is ordinary; the largest that compilers make of real programs stay below
//! a tenth of them.

use wasmparser::{BinaryReaderError, FunctionBody, Operator, Payload};

/// Functions, types, globals, exports, element segments and data segments of a module, each.
const MOST_ITEMS: u32 = 50_000;
/// Bytes of one function.
const MOST_BODY_BYTES: usize = 512 * 1024;
/// Locals of one function; WebAssembly's own bound is 50,000.
const MOST_LOCALS: u32 = 10_000;
/// Blocks, loops, branches and calls of one function: the edges of what the compiler analyses.
const MOST_EDGES: u32 = 50_000;
/// Parameters and results of one type.
const MOST_VALUES: usize = 256;

/// The limit that is exceeded, in words.
pub(super) type Excess = String;

/// Checks one part of a module; the outer error is a malformed module.
pub(super) fn check(payload: &Payload<'_>) -> Result<Result<(), Excess>, BinaryReaderError> {
    Ok(match payload {
        Payload::TypeSection(types) => {
            for group in types.clone() {
                for part in group?.types() {
                    if let wasmparser::CompositeInnerType::Func(function) = &part.composite_type.inner
                        && function.params().len().max(function.results().len()) > MOST_VALUES
                    {
                        return Ok(Err(format!("a type has more than {MOST_VALUES} parameters or results")));
                    }
                }
            }
            count("types", types.count())
        }
        Payload::ImportSection(imports) => count("imports", imports.count()),
        Payload::FunctionSection(functions) => count("functions", functions.count()),
        Payload::GlobalSection(globals) => count("globals", globals.count()),
        Payload::ExportSection(exports) => count("exports", exports.count()),
        Payload::ElementSection(elements) => count("element segments", elements.count()),
        Payload::DataSection(data) => count("data segments", data.count()),
        Payload::CodeSectionEntry(body) => function(body)?,
        _ => Ok(()),
    })
}

fn count(of: &str, found: u32) -> Result<(), Excess> {
    if found > MOST_ITEMS { Err(format!("it has {found} {of}, {MOST_ITEMS} are allowed")) } else { Ok(()) }
}

fn function(body: &FunctionBody<'_>) -> Result<Result<(), Excess>, BinaryReaderError> {
    let size = body.range().len();
    if size > MOST_BODY_BYTES {
        return Ok(Err(format!("a function has {size} bytes, {MOST_BODY_BYTES} are allowed")));
    }
    let mut locals = 0_u32;
    for group in body.get_locals_reader()? {
        locals = locals.saturating_add(group?.0);
    }
    if locals > MOST_LOCALS {
        return Ok(Err(format!("a function has {locals} locals, {MOST_LOCALS} are allowed")));
    }
    let mut edges = 0_u32;
    for operator in body.get_operators_reader()? {
        edges = edges.saturating_add(weight(&operator?));
    }
    if edges > MOST_EDGES {
        return Ok(Err(format!(
            "a function has {edges} blocks, branches and calls, {MOST_EDGES} are allowed"
        )));
    }
    Ok(Ok(()))
}

fn weight(operator: &Operator<'_>) -> u32 {
    match operator {
        Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::If { .. }
        | Operator::Else
        | Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::Call { .. }
        | Operator::CallIndirect { .. } => 1,
        Operator::BrTable { targets } => targets.len().saturating_add(1),
        _ => 0,
    }
}
