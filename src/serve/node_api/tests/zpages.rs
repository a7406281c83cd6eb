//! `/flagz` and `/statusz` in each of their forms.

use serde_json::{Value, json};

use super::{Node, Port};

#[tokio::test]
async fn the_pages_are_text_for_people_and_objects_for_whom_asks_for_them() {
    let node = Node::start(false).await;
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    for (path, kind) in [("/flagz", "Flagz"), ("/statusz", "Statusz")] {
        let (code, headers, text) = admin.send("GET", path, &[]).await.unwrap();
        assert_eq!(code, 200, "{text}");
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        let title = format!("\nkubelet {}\nWarning: ", kind.to_lowercase());
        assert!(text.starts_with(&title), "{text}");
        let accept = |media: &str, version: &str| format!("{media};as={kind};g=config.k8s.io;v={version}");

        let json_of_beta = accept("application/json", "v1beta1");
        let (code, headers, text) = admin
            .send("GET", path, &[("accept", &json_of_beta)])
            .await
            .unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &object["kind"]), (200, &json!(kind)));
        assert_eq!(object["apiVersion"], "config.k8s.io/v1beta1");
        assert_eq!(object["metadata"], json!({"name": "kubelet"}));
        assert_eq!(
            (&headers["content-type"], headers.get("warning")),
            (&"application/json".parse().unwrap(), None)
        );

        let yaml_of_alpha = accept("application/yaml", "v1alpha1");
        let (_, headers, text) = admin
            .send("GET", path, &[("accept", &yaml_of_alpha)])
            .await
            .unwrap();
        assert!(text.contains("apiVersion: config.k8s.io/v1alpha1\n"), "{text}");
        assert_eq!(headers["content-type"], "application/yaml");
        assert!(headers["warning"].to_str().unwrap().contains("deprecated"));

        let plain = [("accept", "application/json")];
        let (code, _, text) = admin.send("GET", path, &plain).await.unwrap();
        let status: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &status["reason"]), (406, &json!("NotAcceptable")));
    }
    let flags = admin.get("/flagz", None).await.unwrap().1;
    assert!(flags.ends_with("\nmax-pods=50\n"), "{flags}");
}

#[tokio::test]
async fn without_debugging_there_are_no_pages() {
    let node = Node::serving(Port {
        debugging: false,
        ..Port::default()
    })
    .await;
    for path in ["/flagz", "/statusz"] {
        let admin = Some(node.authority.user("admin"));
        let expected = (404, "404 page not found\n".to_owned());
        assert_eq!(node.get(path, admin, None).await, expected, "{path}");
    }
}
