//! Price lists over real HTTP: sheets, versions, differences.
#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use api::{Api, ApiSettings, Token};
use bus::{Bus, Clock};
use jiff::{SignedDuration, Timestamp};
use outbound::{Outbound, OutboundSettings};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use views::Store;

const TOKEN: &str = "0123456789abcdef";

struct World {
    bus: Bus,
    base: String,
    http: Client,
    _tasks: JoinSet<()>,
    _directory: TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let bus = Bus::embedded(directory.path()).expect("bus");
        let settings = ApiSettings {
            listen: ([127, 0, 0, 1], 0).into(),
            token: Token::new(TOKEN).expect("token"),
            apps: Vec::new(),
            region: "SG".to_owned(),
            payers: None,
        };
        let outbound = OutboundSettings { allow: Vec::new(), plain_http: false, user_agent: "callbus/test".to_owned() };
        let outbound = Outbound::new(outbound).expect("client");
        let api = Api::build(settings, bus.clone(), Store::sqlite(directory.path()), outbound).await.expect("api");
        let base = format!("http://{}", api.address());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { api.run(CancellationToken::new()).await.expect("run") });
        let http = Client::builder().no_proxy().build().expect("client");
        Self { bus, base, http, _tasks: tasks, _directory: directory }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(TOKEN)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// `query` with its question mark.
    async fn import(&self, query: &str, csv: &str) -> (u16, Value) {
        answer(self.request(Method::PUT, &format!("/v1/decks/standard{query}")).body(csv.to_owned())).await
    }

    async fn cost(&self, at: Timestamp) -> (u16, Value) {
        let (status, page) =
            self.get(&format!("/v1/decks/standard/price?number=46701234567&duration=60&at={at}")).await;
        (status, page["cost"].clone())
    }

    async fn versions(&self) -> Vec<Value> {
        let (_, page) = self.get("/v1/decks/standard/versions").await;
        page["versions"].as_array().cloned().unwrap_or_default()
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let reply = request.send().await.expect("reply");
    let status = reply.status().as_u16();
    (status, reply.json().await.expect("JSON"))
}

fn rate(rate: &str) -> String {
    format!("prefix,rate,currency\n46,{rate},EUR\n")
}

#[tokio::test]
async fn a_deck_is_taken_whole_or_not_at_all() {
    let world = World::start().await;
    let put =
        |name: &str, csv: &str| answer(world.request(Method::PUT, &format!("/v1/decks/{name}")).body(csv.to_owned()));
    assert_eq!(world.get("/v1/decks/standard").await.0, 404);
    let (status, problem) = put("standard", "prefix,rate,currency\n46,1,EUR\nx,1,EUR\n47,y,EUR\n").await;
    assert_eq!(status, 422);
    let lines: Vec<u64> =
        problem["lines"].as_array().expect("lines").iter().filter_map(|l| l["line"].as_u64()).collect();
    assert_eq!(lines, [3, 4]);
    assert_eq!(world.get("/v1/decks/standard").await.0, 404);
    assert_eq!(put("standard", "prefix,rate,currency\n46,1,EUR\n").await.0, 200);
    let (_, page) = world.get("/v1/decks/standard").await;
    assert_eq!((&page["deck"], &page["prefixes"]), (&json!("standard"), &json!(1)));
    assert_eq!(put("standard", "prefix,rate,currency\n").await.0, 422, "a list without prices is none");
    assert_eq!(put("a%2Fb", "prefix,rate,currency\n46,1,EUR\n").await.0, 422);
}

#[tokio::test]
async fn a_price_is_explained_step_by_step() {
    let world = World::start().await;
    let csv = "prefix,destination,connect_fee,rate,increments,currency,from,time_zone\n\
        46,Sweden,0.1,0.02,60/1,EUR,,Europe/Stockholm\n46,Sweden,0,0.01,60/1,EUR,18:00,Europe/Stockholm\n";
    // In force before the calls below: the list of an earlier build always was.
    world.bus.put_document("deck/standard", csv.into()).await.expect("put");
    let ask = |query: &str| {
        let path = format!("/v1/decks/standard/price?{query}");
        async { world.get(&{ path }).await }
    };
    let (status, page) = ask("number=%2B46701234567&duration=200&at=2026-01-02T16:59:00Z").await;
    assert_eq!(status, 200);
    assert_eq!((&page["prefix"], &page["destination"]), (&json!("46"), &json!("Sweden")));
    assert_eq!(
        (&page["connect_fee"], &page["exact"], &page["cost"]),
        (&json!("0.1"), &json!("0.143333333…"), &json!("0.1434"))
    );
    let steps: Vec<_> = page["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| {
            json!([step["from_secs"], step["billed_secs"], step["tier"]["rate"], step["period"], step["amount"]])
        })
        .collect();
    assert_eq!(
        json!(steps),
        json!([[0, 60, "0.02", null, "0.02"], [60, 140, "0.01", "from 18:00:00", "0.023333333…"]])
    );
    assert_eq!(ask("number=46701234567&duration=0").await.1["cost"], "0");
    for (query, status) in [
        ("number=%2B15551234567&duration=1", 404),
        ("number=x&duration=1", 422),
        ("number=%2B46701234567&duration=86401", 422),
        ("number=%2B46701234567", 422),
        ("number=%2B46701234567&duration=1&at=noon", 422),
    ] {
        assert_eq!(ask(query).await.0, status, "{query}");
    }
    assert_eq!(world.get("/v1/decks/other/price?number=46701234567&duration=1").await.0, 404);
}

#[tokio::test]
async fn a_version_is_in_force_from_its_time_on() {
    let world = World::start().await;
    let before = Clock::System.now();
    let (status, now) = world.import("", &rate("1")).await;
    assert_eq!((status, &now["unchanged"], &now["format"]), (200, &json!(false), &json!("callbus")));
    let later = Clock::System.now() + SignedDuration::from_hours(1);
    let (status, next) = world.import(&format!("?from={later}"), &rate("2")).await;
    assert_eq!((status, &next["effective_from"]), (200, &json!(later.to_string())));

    let second = SignedDuration::from_secs(1);
    assert_eq!(world.cost(before - second).await.0, 404, "nothing was in force");
    assert_eq!(world.cost(later - second).await.1, "1");
    assert_eq!(world.cost(later).await.1, "2");
    let (_, page) = world.get("/v1/decks/standard").await;
    assert_eq!(page["version"], now["version"]);
    let told: Vec<_> =
        world.versions().await.iter().map(|line| (line["version"].clone(), line["in_force"].clone())).collect();
    assert_eq!(told, [(next["version"].clone(), json!(false)), (now["version"].clone(), json!(true))]);

    for (query, csv) in [("", rate("1")), ("", rate("1.0")), (&*format!("?from={later}"), rate("2"))] {
        let (status, page) = world.import(query, &csv).await;
        assert_eq!((status, &page["unchanged"]), (200, &json!(true)), "it is so already: {query}");
    }
    let (status, problem) = world.import("?from=2020-01-01T00:00:00Z", &rate("3")).await;
    assert_eq!((status, problem["detail"].as_str().is_some_and(|text| text.contains("has passed"))), (422, true));
    assert_eq!(world.versions().await.len(), 2);
    assert_eq!(world.import(&format!("?from={later}"), &rate("1")).await.0, 200, "the change is called off");
    assert_eq!(world.cost(later).await.1, "1");
}

#[tokio::test]
async fn of_imports_at_the_same_time_none_is_lost() {
    let world = World::start().await;
    let imports = (1..=8).map(|price| {
        let csv = rate(&price.to_string());
        answer(world.request(Method::PUT, "/v1/decks/standard").body(csv))
    });
    for (status, page) in futures::future::join_all(imports).await {
        assert_eq!((status, &page["unchanged"]), (200, &json!(false)));
    }
    let versions = world.versions().await;
    assert_eq!(versions.len(), 8);
    assert_eq!(versions.iter().filter(|version| version["in_force"] == true).count(), 1);
    assert_eq!(versions[0]["in_force"], true, "the last one");
}

#[tokio::test]
async fn the_price_list_of_an_earlier_build_is_read_on() {
    let world = World::start().await;
    world.bus.put_document("deck/standard", rate("1").into()).await.expect("put");
    let (_, page) = world.get("/v1/decks/standard").await;
    let early = page["version"].clone();
    assert_eq!((page["prefixes"].clone(), world.versions().await.len()), (json!(1), 1));
    let before = Clock::System.now() - SignedDuration::from_secs(1);
    assert_eq!(world.cost(before).await.1, "1");
    let (_, imported) = world.import("", &rate("2")).await;
    let told: Vec<Value> = world.versions().await.iter().map(|line| line["version"].clone()).collect();
    assert_eq!(told, [imported["version"].clone(), early]);
    assert_eq!((world.cost(before).await.1, world.cost(Clock::System.now()).await.1), (json!("1"), json!("2")));
}

#[tokio::test]
async fn a_dry_run_and_a_diff_say_what_changes() {
    let world = World::start().await;
    let (one, two) = (
        "prefix,rate,currency\n46,1,EUR\n47,1,EUR\n48,1,EUR\n",
        "prefix,rate,currency\n46,1.1,EUR\n47,0.5,EUR\n49,1,EUR\n",
    );
    let (status, page) = world.import("?dry_run=true", one).await;
    assert_eq!((status, &page["added"], &page["old"]), (200, &json!(3), &Value::Null));
    assert_eq!(world.get("/v1/decks/standard").await.0, 404, "nothing was imported");
    let (_, old) = world.import("", one).await;
    let (status, page) = world.import("?dry_run=true&limit=2", two).await;
    assert_eq!(status, 200);
    let counts = |page: &Value| {
        ["added", "removed", "dearer", "cheaper", "otherwise", "same"].map(|kind| page[kind].as_u64().expect("count"))
    };
    assert_eq!(counts(&page), [1, 1, 1, 1, 0, 0]);
    assert_eq!(
        page["changes"],
        json!([
            { "prefix": "46", "destination": "", "change": "dearer", "old_cost": "1", "new_cost": "1.1", "percent": "10" },
            { "prefix": "47", "destination": "", "change": "cheaper", "old_cost": "1", "new_cost": "0.5", "percent": "-50" },
        ])
    );
    let (_, new) = world.import("", two).await;
    let version = |page: &Value| page["version"].as_str().expect("version").to_owned();
    let path = |old: &str, new: &str| format!("/v1/decks/standard/diff?old={old}&new={new}");
    let (status, page) = world.get(&path(&version(&old), &version(&new))).await;
    assert_eq!((status, counts(&page), page["changes"].as_array().map(Vec::len)), (200, [1, 1, 1, 1, 0, 0], Some(4)));
    let (_, page) = world.get(&path(&version(&new), &version(&new))).await;
    assert_eq!((counts(&page), &page["changes"]), ([0, 0, 0, 0, 0, 3], &json!([])));
    assert_eq!(world.get(&path("0123456789abcdef", &version(&new))).await.0, 404);
    assert_eq!(world.get("/v1/decks/standard/diff?old=1").await.0, 422);
}

#[tokio::test]
async fn a_carriers_sheet_is_read_with_what_it_does_not_say() {
    let world = World::start().await;
    let sheet = "Dial code;Country;Rate/min;Interval;Effective date\n46;Sweden;0,5;60/60;2026-01-01\n";
    assert_eq!(world.import("", sheet).await.0, 422, "no currency");
    let (status, page) = world.import("?currency=EUR", sheet).await;
    assert_eq!((status, &page["format"], &page["prefixes"]), (200, &json!("carrier"), &json!(1)));
    assert_eq!(world.cost(Clock::System.now()).await.1, "0.5");
    for query in ["?currency=euro", "?currency=EUR&as=excel", "?currency=EUR&as=kazoo", "?form=x"] {
        assert_eq!(world.import(query, sheet).await.0, 422, "{query}");
    }
    let later = "Prefix,Rate,Effective date\n46,0.6,2096-01-01\n";
    let (status, problem) = world.import("?currency=EUR", later).await;
    assert_eq!(status, 422);
    let reason = problem["lines"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("--from 2096-01-01T00:00:00Z"), "{reason}");
    assert_eq!(world.import("?currency=EUR&from=2096-01-01T00:00:00Z", later).await.0, 200);
}
