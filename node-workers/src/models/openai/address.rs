//! Addresses and keys: OpenAI's own way, and Azure's two.

use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::models::http::ServerSettings;

/// A server's addresses. With a version of the interface they are Azure's by deployment:
/// `{endpoint}/openai/deployments/{model}/chat/completions?api-version=…`.
pub struct Address {
    base_url: String,
    /// Of Azure's deployments.
    api_version: Option<String>,
    key: Option<SecretString>,
    host: String,
}

impl Address {
    pub fn new(settings: &ServerSettings) -> Self {
        let base_url = settings.base_url.trim_end_matches('/').to_owned();
        let url = Url::parse(&base_url).ok();
        Address {
            host: url.and_then(|url| Some(url.host_str()?.to_owned())).unwrap_or_default(),
            base_url,
            api_version: settings.api_version.clone(),
            key: settings.key.clone(),
        }
    }

    pub fn of(&self, what: &str, model: &str) -> String {
        match &self.api_version {
            Some(version) => {
                format!("{}/deployments/{model}/{what}?api-version={version}", self.below_openai())
            }
            None => format!("{}/{what}", self.base_url),
        }
    }

    pub fn models(&self) -> String {
        match &self.api_version {
            Some(version) => format!("{}/models?api-version={version}", self.below_openai()),
            None => format!("{}/models", self.base_url),
        }
    }

    /// Azure reads keys in a header of its own; Bearer is for its tokens.
    pub fn authorize(&self, call: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) if self.is_azure() => call.header("api-key", key.expose_secret()),
            Some(key) => call.bearer_auth(key.expose_secret()),
            None => call,
        }
    }

    /// OpenAI's models, at OpenAI or at Azure: the newer ones take only the newer names of settings.
    pub fn is_vendor(&self) -> bool {
        self.host == "api.openai.com" || self.is_azure()
    }

    fn is_azure(&self) -> bool {
        self.api_version.is_some() || self.host.ends_with(".azure.com")
    }

    fn below_openai(&self) -> String {
        format!("{}/openai", self.base_url.trim_end_matches("/openai"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base_url: &str, api_version: Option<&str>, chat: &str, header: (&str, &str)) {
        let settings = ServerSettings {
            api_version: api_version.map(str::to_owned),
            ..ServerSettings::new("x", base_url, Some("key".into()))
        };
        let address = Address::new(&settings);
        let url = address.of("chat/completions", "small");
        let asked = address.authorize(reqwest::Client::new().post(&url)).build().unwrap();
        assert_eq!(asked.url().as_str(), chat);
        assert_eq!(asked.headers()[header.0], header.1, "{base_url}");
        let keys = ["api-key", "authorization"].iter().filter(|name| asked.headers().contains_key(**name));
        assert_eq!(keys.count(), 1, "{base_url}");
    }

    #[test]
    fn where_chat_is_and_how_the_key_goes() {
        let bearer = ("authorization", "Bearer key");
        let azure = ("api-key", "key");
        check("https://api.openai.com/v1", None, "https://api.openai.com/v1/chat/completions", bearer);
        check("http://ollama:11434/v1/", None, "http://ollama:11434/v1/chat/completions", bearer);
        check(
            "https://me.openai.azure.com/openai/v1",
            None,
            "https://me.openai.azure.com/openai/v1/chat/completions",
            azure,
        );
        let deployment = "https://me.openai.azure.com/openai/deployments/small/chat/completions?api-version=2024-10-21";
        check("https://me.openai.azure.com", Some("2024-10-21"), deployment, azure);
        check("https://me.openai.azure.com/openai/", Some("2024-10-21"), deployment, azure);
        let behind = "https://gateway/azure/openai/deployments/small/chat/completions?api-version=2024-10-21";
        check("https://gateway/azure", Some("2024-10-21"), behind, azure);
    }
}
