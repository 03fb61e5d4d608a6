//! What the template's root file system says about its agent: `/etc/alcove/template`, lines of `key=value`.

use std::fs;
use std::io;

const PATH: &str = "/etc/alcove/template";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The agent's command line, one word each; empty when the template has no agent.
    pub start: Vec<String>,
    pub user: String,
    /// Absent: the user's home.
    pub cwd: Option<String>,
    pub env: Vec<(String, String)>,
    pub clone_safe: bool,
    pub port: u16,
    /// Shell commands run once before `ready`, so that what they touch is in the template's page cache.
    pub warm: Vec<String>,
}

impl Template {
    pub fn load() -> io::Result<Template> {
        match fs::read_to_string(PATH) {
            Ok(text) => Ok(Template::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Template::parse("")),
            Err(error) => Err(error),
        }
    }

    /// Written by our own build: lines that it does not know are a newer build's and are passed over.
    pub fn parse(text: &str) -> Template {
        let mut template = Template {
            user: "user".to_string(),
            port: 8080,
            ..Template::default()
        };
        for (key, value) in text.lines().filter_map(split_pair) {
            match key {
                "start" => template.start.push(value.to_string()),
                "user" => template.user = value.to_string(),
                "cwd" => template.cwd = Some(value.to_string()),
                "env" => template.env.extend(split_pair(value).map(owned)),
                "cloneSafe" => template.clone_safe = value == "1",
                "port" => template.port = value.parse().unwrap_or(8080),
                "warm" => template.warm.push(value.to_string()),
                _ => (),
            }
        }
        template
    }
}

/// `K=V`, with a key that is not empty.
pub fn split_pair(line: &str) -> Option<(&str, &str)> {
    line.split_once('=').filter(|(key, _)| !key.is_empty())
}

/// As `split_pair` gives it, to keep.
pub fn owned(pair: (&str, &str)) -> (String, String) {
    (pair.0.to_string(), pair.1.to_string())
}
