//! The page at `/` and the documents of the API in a real browser: Chromium, driven over WebDriver.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::process::{PATIENCE, Process, dev, folder, free_address};

/// A browser with one window, and the driver's process that holds it.
struct Browser {
    client: Client,
    driver: Child,
}

impl Browser {
    /// None where no chromedriver is installed, which CI counts as a failure.
    async fn open(name: &str) -> Option<Self> {
        let address = free_address();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(driver) = driver else {
            assert!(std::env::var_os("CI").is_none(), "under CI the page is tried in a real browser: {driver:?}");
            println!("skipped: {name}: chromedriver is not installed");
            return None;
        };
        let options = json!({"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]});
        let capabilities = serde_json::Map::from_iter([("goog:chromeOptions".to_owned(), options)]);
        for _ in 0..100 {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone());
            if let Ok(client) = builder.connect(&format!("http://{address}")).await {
                return Some(Browser { client, driver });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("chromedriver opened no browser");
    }

    async fn go(&self, process: &Process, path: &str) {
        self.client.goto(&process.url(path)).await.expect("the page opens");
    }

    /// The text of the first element that `css` finds, once it holds `expect`.
    async fn shows(&self, css: &str, expect: &str) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut last = String::new();
        while tokio::time::Instant::now() < deadline {
            if let Ok(element) = self.client.find(Locator::Css(css)).await {
                last = element.text().await.unwrap_or_default();
                if last.contains(expect) {
                    return last;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{css} never showed {expect:?}, but {last:?}");
    }

    async fn type_into(&self, css: &str, text: &str) {
        let element = self.client.find(Locator::Css(css)).await.expect(css);
        element.send_keys(text).await.expect("keys are taken");
    }

    async fn click(&self, css: &str) {
        self.client.find(Locator::Css(css)).await.expect(css).click().await.expect("a click is taken");
    }

    async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.expect(css).len()
    }

    /// What a script evaluates to.
    async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect("the script runs")
    }

    /// Addresses of everything that the page has loaded from elsewhere than the server.
    async fn loaded_from_elsewhere(&self) -> Value {
        self.script(
            "return performance.getEntriesByType('resource').map((it) => it.name) \
             .filter((it) => !it.startsWith(location.origin) && !it.startsWith('data:') && !it.startsWith('blob:'))",
        )
        .await
    }

    async fn close(mut self) {
        let _ = self.client.clone().close().await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[tokio::test]
async fn a_person_chats_with_the_graph_and_sees_it() {
    let Some(browser) = Browser::open("the page").await else { return };
    let folder = folder();
    let server = dev(folder.path(), &["--graph", "../examples/support.yaml"]).await;
    browser.go(&server, "/").await;
    browser.shows("#title", "support").await;
    assert!(browser.count("#drawing svg [data-node]").await >= 4, "START, END and the graph's nodes are drawn");

    // Markup, were it not shown as text.
    browser.type_into("#say", "what is <b>wrong</b> with my bill?").await;
    browser.click("#send").await;
    browser.shows("#state", "success").await;
    assert_eq!(browser.count("#log .turn.person").await, 1);
    assert!(browser.count("#log .turn.graph").await >= 1);
    assert_eq!(browser.count("#log b").await, 0, "what a person writes is text");
    assert_eq!(browser.count("#log .turn.error").await, 0);
    assert!(browser.count("#drawing [data-node].done").await >= 1, "the run is seen going through the graph");

    // Enter sends; the conversation goes on in the same thread.
    browser.type_into("#say", "and again\u{e007}").await;
    browser.shows("#log .turn.person ~ .turn.person", "and again").await;
    browser.shows("#state", "success").await;
    assert_eq!(browser.count("#log .turn.person").await, 2);

    browser.click("#fresh").await;
    assert_eq!(browser.count("#log .turn").await, 0);
    assert_eq!(browser.loaded_from_elsewhere().await, json!([]));
    browser.close().await;
}

#[tokio::test]
async fn a_graph_without_messages_takes_json() {
    let Some(browser) = Browser::open("the page, JSON").await else { return };
    let folder = folder();
    let server = dev(folder.path(), &["--graph", "../examples/three-nodes.yaml"]).await;
    browser.go(&server, "/").await;
    browser.shows("#title", "three-nodes").await;
    browser.shows("#say-label", "Input, as JSON").await;
    browser.click("#send").await;
    browser.shows("#state", "success").await;

    browser.type_into("#say", "{").await;
    browser.click("#send").await;
    browser.shows("#state", "no JSON").await;
    browser.close().await;
}

#[tokio::test]
async fn the_documents_of_the_api_open_offline() {
    let Some(browser) = Browser::open("the documents").await else { return };
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    browser.go(&server, "/docs/").await;
    browser.shows("#swagger-ui", "/chat").await;
    assert_eq!(browser.loaded_from_elsewhere().await, json!([]));
    browser.go(&server, "/redoc").await;
    browser.shows("redoc", "Millstream").await;
    // Its footer asks for its makers' logo, which the page's Content-Security-Policy refuses.
    assert_eq!(browser.loaded_from_elsewhere().await, json!(["https://cdn.redoc.ly/redoc/logo-mini.svg"]));
    browser.close().await;
}
