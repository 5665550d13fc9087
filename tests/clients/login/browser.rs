//! A browser as far as a login needs one: it keeps cookies for each host and port, follows redirects, and sends forms.

use std::collections::HashMap;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};

use crate::support::Answer;

/// Pages and redirects before something is wrong.
const MOST: usize = 30;

pub(crate) struct Browser {
    client: Client,
    pub(crate) jar: HashMap<String, HashMap<String, String>>,
    /// Where it went, in order.
    pub(crate) visited: Vec<Url>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let client = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { client, jar: HashMap::new(), visited: Vec::new() }
    }

    fn place(url: &Url) -> String {
        format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap())
    }

    /// One request; keeps the cookies of the answer.
    async fn send(&mut self, url: &Url, request: RequestBuilder) -> Answer {
        self.visited.push(url.clone());
        let jar = self.jar.entry(Self::place(url)).or_default();
        let cookies: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = request.header("accept", "text/html,application/xhtml+xml");
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// Goes somewhere and no further.
    pub(crate) async fn step(&mut self, url: &Url) -> Answer {
        let request = self.client.get(url.clone());
        self.send(url, request).await
    }

    /// Goes on, by redirects and by the forms of the provider, as `name`, up to an answer that has neither, or to the first
    /// address for which `stop` holds, which is not visited.
    pub(crate) async fn walk(
        &mut self,
        from: &str,
        name: &str,
        stop: impl Fn(&Url) -> bool,
    ) -> Result<Answer, Url> {
        let mut url = Url::parse(from).unwrap();
        let mut sent: Option<Vec<(String, String)>> = None;
        for _ in 0..MOST {
            if stop(&url) {
                return Err(url);
            }
            let request = match sent.take() {
                Some(fields) => self
                    .client
                    .post(url.clone())
                    .body(encoded(&fields))
                    .header("content-type", "application/x-www-form-urlencoded"),
                None => self.client.get(url.clone()),
            };
            let answer = self.send(&url, request).await;
            if let Some(place) = answer.headers.get(LOCATION).filter(|_| answer.status.is_redirection()) {
                url = url.join(place.to_str().unwrap()).unwrap();
            } else if let Some((action, fields)) = form(&answer.text, name) {
                url = url.join(&action).unwrap();
                sent = Some(fields);
            } else {
                return Ok(answer);
            }
        }
        panic!("no end of it: {:#?}", self.visited)
    }
}

fn encoded(fields: &[(String, String)]) -> String {
    let mut url = Url::parse("http://x").unwrap();
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = tag.split(&format!("{name}=\"")).nth(1)?;
    Some(rest.split('"').next()?.replace("&amp;", "&"))
}

/// The first form of a page: where it goes, and its fields; `login` is filled in.
fn form(page: &str, name: &str) -> Option<(String, Vec<(String, String)>)> {
    let form = page.split("<form").nth(1)?.split("</form>").next()?;
    let action = attribute(form.split('>').next()?, "action")?;
    let mut fields: Vec<(String, String)> = form
        .split("<input")
        .skip(1)
        .filter_map(|input| {
            let input = input.split('>').next()?;
            let field = attribute(input, "name")?;
            let given = attribute(input, "value").unwrap_or_default();
            let value = if matches!(field.as_str(), "login" | "password") { name.to_owned() } else { given };
            Some((field, value))
        })
        .collect();
    fields.dedup();
    Some((action, fields))
}
