//! The bounded question for what a server offers.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::text::one_line;
use crate::tools::arguments::ArgumentSchema;
use crate::tools::definition::{Definition, DefinitionError};
use crate::tools::error::UpstreamError;
use crate::tools::settings::Settings;

use super::UpstreamLimits;
use super::link::{Failure, Link, Outgoing};

/// The most pages of one listing; a server that sends ever new cursors is cut off here.
const MAX_PAGES: usize = 64;

/// The tools that a server offers now.
#[derive(Debug, Default)]
pub struct Listing {
    /// Definitions within the budget, each with a schema that arguments can be checked against.
    pub definitions: Vec<Definition>,
    /// The tools that were left out, and why.
    pub refused: Vec<(String, DefinitionError)>,
}

impl Listing {
    /// Reads definitions as another gateway passed them on, within the same bounds.
    pub fn read(tools: impl IntoIterator<Item = Json>, settings: &Settings) -> Self {
        let mut listing = Self::default();
        let limits = UpstreamLimits::from(settings);
        tools.into_iter().take(limits.tools).for_each(|tool| read_tool(tool, &limits, &mut listing));
        listing
    }
}

/// Asks for the tools. A server with too many is refused as a whole; a single bad definition is left out.
pub(super) async fn tools(link: &Arc<Link>, limits: &UpstreamLimits) -> Result<Listing, UpstreamError> {
    let mut listing = Listing::default();
    let most_bytes = limits.tools.saturating_mul(limits.definition_bytes);
    for tool in items(link, "tools/list", "tools", (limits.tools, most_bytes)).await? {
        read_tool(tool, limits, &mut listing);
    }
    Ok(listing)
}

/// All items of a list, page by page. A cursor that is empty or comes again ends the list.
pub(in crate::tools) async fn items(
    link: &Arc<Link>,
    method: &str,
    key: &str,
    (most, most_bytes): (usize, usize),
) -> Result<Vec<Json>, UpstreamError> {
    let mut bytes = 0_usize;
    let mut items = Vec::new();
    let mut cursors: Vec<String> = Vec::new();
    for _ in 0..MAX_PAGES {
        let mut params = Map::new();
        if let Some(cursor) = cursors.last() {
            params.insert("cursor".to_owned(), cursor.as_str().into());
        }
        let answer = link.request(Outgoing::new(method, params)).await;
        let mut page = answer.map_err(|failure| UpstreamError::Listing(Box::new(failure)))?;
        let Some(Json::Array(found)) = page.remove(key) else {
            let failure = Failure::Unusable(format!("it has no list of {key}"));
            return Err(UpstreamError::Listing(Box::new(failure)));
        };
        for item in &found {
            bytes = bytes.saturating_add(item.to_string().len());
        }
        if bytes > most_bytes {
            return Err(UpstreamError::ListTooLarge { limit: most_bytes, what: key.to_owned() });
        }
        items.extend(found);
        if items.len() > most {
            return Err(UpstreamError::TooMany { limit: most, what: key.to_owned() });
        }
        match page.remove("nextCursor") {
            Some(Json::String(next)) if !next.is_empty() && !cursors.contains(&next) => cursors.push(next),
            _ => return Ok(items),
        }
    }
    Err(UpstreamError::TooManyPages { limit: MAX_PAGES, what: key.to_owned() })
}

fn read_tool(tool: Json, limits: &UpstreamLimits, listing: &mut Listing) {
    let name = tool.get("name").and_then(Json::as_str).unwrap_or("(no name)").to_owned();
    let read = Definition::read(&tool, limits.definition_bytes).and_then(|definition| {
        ArgumentSchema::compile(&definition.input_schema)?;
        Ok(definition)
    });
    match read {
        // A page that came again.
        Ok(definition) if listing.definitions.contains(&definition) => {}
        // It is undecidable which of the two is meant.
        Ok(definition) if listing.definitions.iter().any(|known| known.name == definition.name) => {
            listing.definitions.retain(|known| known.name != definition.name);
            listing.refused.push((definition.name, DefinitionError::Twice));
        }
        Ok(definition) if listing.refused.iter().any(|(name, _)| *name == definition.name) => {
            listing.refused.push((definition.name, DefinitionError::Twice));
        }
        Ok(definition) => listing.definitions.push(definition),
        Err(error) => listing.refused.push((one_line(&name, 80), error)),
    }
}
