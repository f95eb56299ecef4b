//! Pages load nothing from anywhere else.

use crate::stage::Stage;

#[tokio::test]
async fn pages_need_nothing_but_this_server() {
    let stage = Stage::new().await;
    for page in ["/", "/redoc", "/docs/"] {
        let reply = stage.get(page).await.expect(200);
        assert!(reply.header("content-type").starts_with("text/html"));
        assert!(reply.header("content-security-policy").contains("default-src 'self'"), "{page}");
        for foreign in ["http://", "https://", "=\"//", "='//"] {
            assert!(!reply.text.contains(foreign), "{page} names {foreign}");
        }
        let attributes = reply.text.split(['"', '\'']);
        let files = attributes.filter(|text| text.ends_with(".js") || text.ends_with(".css") || text.ends_with(".png"));
        let mut loaded = 0;
        for file in files {
            let path = if file.starts_with('/') {
                file.to_owned()
            } else {
                format!("/docs/{}", file.trim_start_matches("./"))
            };
            assert!(!stage.get(&path).await.expect(200).text.is_empty(), "{path}");
            loaded += 1;
        }
        assert!(loaded > 0, "{page} loads nothing");
    }
}

#[tokio::test]
async fn our_scripts_name_no_other_server() {
    let stage = Stage::new().await;
    for script in ["page.js", "events.js", "drawing.js", "page.css"] {
        let text = stage.get(&format!("/assets/{script}")).await.expect(200).text;
        // The one name that is no address: SVG's namespace.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{script}");
    }
    stage.get("/assets/../Cargo.toml").await.expect(404);
    stage.get("/assets/none.js").await.expect(404);
    stage.get("/docs").await.expect(308);
}

#[tokio::test]
async fn operators_are_answered_without_a_key() {
    let stage = Stage::new().await;
    let request = |path: &str| http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    assert_eq!(stage.send(request("/health")).await.expect(200).json()["status"], "ok");
    assert_eq!(stage.send(request("/metrics")).await.expect(200).text, "up 1\n");
    while stage.send(request("/ready")).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(stage.send(request("/ok")).await.expect(200).json()["ok"], true);
}
