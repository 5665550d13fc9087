//! Parses CSV text into columns and rows, and takes the sting out of cells that a spreadsheet would run.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    text: String,
    #[serde(default)]
    delimiter: Option<String>,
    #[serde(default = "yes")]
    has_header: bool,
    #[serde(default)]
    max_rows: Option<u64>,
    #[serde(default = "yes")]
    sanitize: bool,
}

#[derive(Serialize)]
struct Output {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    row_count: u64,
    truncated: bool,
}

fn main() -> ExitCode {
    guest::run(parse)
}

fn yes() -> bool {
    true
}

fn parse(input: Input) -> Result<Output, String> {
    let limit = match input.max_rows {
        Some(0) => return Err("`max_rows` must be at least 1".to_owned()),
        limit => limit.unwrap_or(u64::MAX),
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(input.delimiter.as_deref())?)
        .has_headers(input.has_header)
        .from_reader(input.text.as_bytes());
    let cell = |text: &str| if input.sanitize { sanitize(text) } else { text.to_owned() };

    let mut columns = Vec::new();
    if input.has_header {
        columns = reader.headers().map_err(|error| error.to_string())?.iter().map(cell).collect();
    }
    let mut rows = Vec::new();
    let mut truncated = false;
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        if rows.len() as u64 >= limit {
            truncated = true;
            break;
        }
        rows.push(record.iter().map(cell).collect::<Vec<_>>());
    }
    if !input.has_header {
        columns = (1..=rows.first().map_or(0, Vec::len)).map(|n| format!("column_{n}")).collect();
    }
    Ok(Output { columns, row_count: rows.len() as u64, rows, truncated })
}

fn delimiter(text: Option<&str>) -> Result<u8, String> {
    match text.map(str::as_bytes) {
        None => Ok(b','),
        Some([byte]) if !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        Some(_) => Err("`delimiter` must be one ASCII character, not a quote or a line end".to_owned()),
    }
}

/// A spreadsheet runs a cell that begins like this as a formula; a leading apostrophe makes it text.
fn sanitize(cell: &str) -> String {
    match cell.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r') => format!("'{cell}"),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        Input { text: text.to_owned(), delimiter: None, has_header: true, max_rows: None, sanitize: true }
    }

    #[test]
    fn formulas_are_defused() {
        let output = parse(input("name,=sum\na,=1+1\nb,-2\nc,\"@x\"\n")).unwrap();
        assert_eq!(output.columns, ["name", "'=sum"]);
        assert_eq!(output.rows, [["a", "'=1+1"], ["b", "'-2"], ["c", "'@x"]]);
    }

    #[test]
    fn rows_are_capped() {
        let output = parse(Input { max_rows: Some(1), ..input("a\n1\n2\n") }).unwrap();
        assert!(output.truncated);
        assert_eq!(output.row_count, 1);
        assert!(parse(Input { max_rows: Some(0), ..input("a\n") }).is_err());
    }

    #[test]
    fn delimiters_and_ragged_rows() {
        let output =
            parse(Input { delimiter: Some(";".into()), has_header: false, ..input("1;2\n") }).unwrap();
        assert_eq!(output.columns, ["column_1", "column_2"]);
        assert!(parse(Input { delimiter: Some("\"".into()), ..input("a\n") }).is_err());
        assert!(parse(input("a,b\n1\n")).is_err());
    }
}
