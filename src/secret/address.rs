//! A configured address. It may hold a key, in its query or wherever a secret was expanded, so it shows itself masked: in
//! a log line, an error, a status. The whole of it goes to the client that asks there.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use reqwest::Url;

/// What stands in place of what is not shown.
const HIDDEN: &str = "(hidden)";
/// The longest chain of causes that is retold.
const CAUSES: usize = 16;

/// An address with a form that may be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    shown: Arc<str>,
}

impl Address {
    /// An address of which user, password and query are not shown.
    pub fn new(url: Url) -> Self {
        let shown = masked(&url).into();
        Self { url, shown }
    }

    /// An address that was made of secrets in other places too; `template` has something else where they are.
    pub fn of_template(url: Url, template: &str) -> Self {
        // Where the secret is a part that no address can be without, only the whole can be hidden.
        let shown = Url::parse(template).map_or_else(|_| HIDDEN.to_owned(), |template| masked(&template));
        Self { url, shown: shown.into() }
    }

    /// All of it, for the one line that needs it.
    pub fn expose(&self) -> &Url {
        &self.url
    }

    /// The error with its causes, wherever one of them has this address in its words.
    pub fn hide_in(&self, error: &dyn Error) -> HiddenError {
        let causes = std::iter::successors(Some(error), |error| (*error).source()).take(CAUSES);
        let told: Vec<String> = causes.map(|cause| self.hide(&cause.to_string())).collect();
        let chain =
            told.into_iter().rev().fold(None, |source, text| Some(Box::new(HiddenError { text, source })));
        chain.map_or_else(|| HiddenError { text: String::new(), source: None }, |first| *first)
    }

    /// The text with the shown form of the address where the whole of it, or its secret part, stands.
    fn hide(&self, text: &str) -> String {
        let mut text = text.replace(self.url.as_str(), &self.shown);
        if let Some(query) = self.url.query().filter(|query| !query.is_empty()) {
            text = text.replace(query, HIDDEN);
        }
        // Short paths are in many words, and no secret is as short.
        if !self.shown.contains(self.url.path()) && self.url.path().len() > 4 {
            text = text.replace(self.url.path(), HIDDEN);
        }
        text
    }
}

fn masked(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail where there is a host, and an address without one has neither.
    let _ = (url.set_username(""), url.set_password(None));
    if url.query().is_some() {
        url.set_query(Some(HIDDEN));
    }
    url.set_fragment(None);
    url.to_string()
}

impl From<Url> for Address {
    fn from(url: Url) -> Self {
        Self::new(url)
    }
}

impl std::str::FromStr for Address {
    type Err = <Url as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::new)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.shown, f)
    }
}

/// What an error and its causes say, without the address in it.
#[derive(Debug)]
pub struct HiddenError {
    text: String,
    source: Option<Box<HiddenError>>,
}

impl fmt::Display for HiddenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for HiddenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn what_may_be_a_key_is_not_shown() {
        for (whole, shown) in [
            ("https://h/mcp?key=hunter2", "https://h/mcp?(hidden)"),
            ("https://user:hunter2@h/mcp", "https://h/mcp"),
            ("https://h/mcp#hunter2", "https://h/mcp"),
            ("https://h:8443/mcp", "https://h:8443/mcp"),
        ] {
            let address = Address::new(url(whole));
            assert_eq!((address.to_string().as_str(), format!("{address:?}")), (shown, format!("{shown:?}")));
            assert_eq!(address.expose().as_str(), whole);
        }
        let in_path = Address::of_template(url("https://h/hunter2/mcp?a=b"), "https://h/(secret)/mcp?a=b");
        assert_eq!(in_path.to_string(), "https://h/(secret)/mcp?(hidden)");
        let all = Address::of_template(url("https://hunter2/"), "(secret)");
        assert_eq!(all.to_string(), "(hidden)");
    }

    #[test]
    fn an_error_that_has_the_address_in_its_words_loses_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request for url ({0})")]
        struct Inner(String);
        #[derive(Debug, thiserror::Error)]
        #[error("the server `{0}` cannot be reached")]
        struct Outer(&'static str, #[source] Inner);
        let address =
            Address::of_template(url("https://h/hunter2/mcp?key=swordfish"), "https://h/(secret)/mcp?key=x");
        let error = Outer("x", Inner("https://h/hunter2/mcp?key=swordfish".to_owned()));
        let hidden = address.hide_in(&error);
        assert_eq!(hidden.to_string(), "the server `x` cannot be reached");
        let cause = hidden.source().unwrap().to_string();
        assert_eq!(cause, "error sending request for url (https://h/(secret)/mcp?(hidden))");
        let parts = address.hide_in(&Inner("path /hunter2/mcp and query key=swordfish".to_owned()));
        assert_eq!(parts.to_string(), "error sending request for url (path (hidden) and query (hidden))");
    }
}
