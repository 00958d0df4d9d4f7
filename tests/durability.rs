//! `serve --data` may be killed at any moment: what it has answered with 2xx stays, and what it has accepted is
//! delivered.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outside::client::{Answer, Client};
use outside::serving::{self, terminate};
use outside::{PATIENCE, Process, Receiver, Request, program};
use serde_json::{Value, json};

const KILLS: usize = 100;
const CUSTOMERS: usize = 5;
/// Those of a destination; so many attempts may be under way when the server is killed.
const CONNECTIONS: usize = 32;

/// Journeys whose callbacks are known beforehand, by the events' types.
const ROUTES: &str = r#"
scenario: Killed
retry: 5x20ms
downed: {after: 100000, pause: 20ms}
journeys:
  quick: {message: {type: sms, text: Hi}, carrier: {after: 0s}, handset: {after: 300ms}}
  refused: {message: {type: sms, text: Hi}, carrier: rejected}
  late: {message: {type: sms, text: Hi}, carrier: {after: 1h}}
routes:
  - {when: {event_type: late}, journey: late}
  - {when: {event_type: refused}, journey: refused}
  - {when: {event_type: "*"}, journey: quick}
"#;

fn outcomes(event_type: &str) -> &'static [&'static str] {
    match event_type {
        "refused" => &["routing.accepted", "processing.queued", "carrier.rejected"],
        _ => &[
            "routing.accepted",
            "processing.queued",
            "carrier.sent",
            "handset.delivered",
        ],
    }
}

/// A folder with a server's data file, and the servers that use it one after the other.
struct Home {
    folder: tempfile::TempDir,
    more: Vec<&'static str>,
}

impl Home {
    fn new(more: &[&'static str]) -> Home {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("routes.yaml"), ROUTES).unwrap();
        Home {
            folder,
            more: more.to_vec(),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("state.sqlite")
    }

    fn words(&self) -> Vec<&str> {
        let mut words = vec!["serve", "routes.yaml", "--port", "0", "--port-file", "port"];
        words.extend(["--data", "state.sqlite"]);
        words.extend(&self.more);
        words
    }

    fn command(&self) -> Command {
        let mut command = program();
        command.current_dir(self.folder.path()).args(self.words());
        command
    }

    /// Starts a server and waits until it is ready.
    fn start(&self) -> (Process, Client) {
        self.start_as(&mut self.command())
    }

    fn start_as(&self, command: &mut Command) -> (Process, Client) {
        serving::start(command, &self.folder.path().join("port"))
    }

    /// How many rows a table has.
    fn rows(&self, table: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.data()).unwrap();
        let query = format!("SELECT count(*) FROM {table}");
        connection.query_row(&query, [], |row| row.get(0)).unwrap()
    }
}

/// Registers a receiver for all that comes of company k's events.
fn register(client: &Client, receiver: &Receiver) {
    let body = registration(&receiver.url(), None);
    client.post(&callbacks("k"), &body).expect(201);
}

fn registration(url: &str, event_type: Option<&str>) -> Value {
    let mut body = json!({
        "callback_type": "event_processed",
        "destination": {"url": url},
        "event_processed": {"callbacks_to_send": "all"},
    });
    if let Some(event_type) = event_type {
        body["event_processed"]["event_type"] = event_type.into();
    }
    body
}

fn event(event_id: &str, event_type: &str) -> Value {
    json!({
        "event_id": event_id,
        "event_type": event_type,
        "event_data": {"external_person_id": event_id},
    })
}

fn callbacks(key: &str) -> String {
    format!("/companies/{key}/config/callbacks")
}

fn campaigns(key: &str) -> String {
    format!("/companies/{key}/mobiledb/event_triggered_messages")
}

fn campaign(name: &str) -> Value {
    json!({
        "name": name,
        "event_type": "nobody_posts_this",
        "start_date": "2020-01-01",
        "targeting": {
            "message_template": format!("{name}: {{{{ event_data.first_name }}}}"),
            "sms": {"sourcecode": "12345", "country_code": "1", "sourcecode_type": "SC"},
        },
    })
}

/// All deliveries that a query finds, page by page.
fn deliveries(client: &Client, query: &str) -> std::io::Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/_mock/deliveries?limit=1000&{query}{after}");
        let page = client.try_ask("GET", &path, "")?.expect(200).json();
        all.extend(page["deliveries"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(all),
        }
    }
}

/// Waits until nothing is on its way any more but what is due in an hour.
fn settle(client: &Client) {
    let began = Instant::now();
    let query = "state=pending&state=retrying&event_type=";
    let open = || {
        ["quick", "refused", "test"]
            .map(|kind| deliveries(client, &format!("{query}{kind}")).unwrap().len())
    };
    while open() != [0; 3] {
        assert!(
            began.elapsed() < PATIENCE,
            "still on their way: {:?}",
            open()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The path that a callback came to, and its own id.
type Came = (String, String);

fn came(request: &Request) -> Came {
    let id = request.json()["event_id"].as_str().unwrap().to_owned();
    (request.path.clone(), id)
}

/// What the control API shows of a delivery, in the receiver's terms.
fn sent(delivery: &Value) -> Came {
    let url = delivery["request"]["url"].as_str().unwrap();
    let path = url.splitn(4, '/').nth(3).unwrap();
    let id = delivery["request"]["body"]["event_id"].as_str().unwrap();
    (format!("/{path}"), id.to_owned())
}

fn draw(id: &str) -> usize {
    id.bytes().map(usize::from).sum()
}

/// How often each callback came.
type Times = Arc<Mutex<HashMap<Came, usize>>>;

/// Answers some callbacks with 503 when they come for the first time, and some always with 400.
fn picky() -> (Receiver, Times) {
    let times = Times::default();
    let counts = Arc::clone(&times);
    let receiver = Receiver::with(move |_, request| {
        let came = came(request);
        let draw = draw(&came.1);
        let mut counts = counts.lock().unwrap();
        let times = counts.entry(came).or_default();
        *times += 1;
        let head = match (draw % 20, *times) {
            (0, 1) => "503 Service Unavailable",
            (1, _) => "400 Bad Request",
            _ => "200 OK",
        };
        head.to_owned()
    });
    (receiver, times)
}

fn is_refused(came: &Came) -> bool {
    draw(&came.1) % 20 == 1
}

/// What the clients know for sure.
#[derive(Default)]
struct Noted {
    /// Path and what it was answered to show: registrations, campaigns.
    entities: BTreeMap<String, Value>,
    /// Event, its type, its company.
    events: Vec<(String, &'static str, String)>,
    /// The path of a registration that was cancelled, and the prefix and number of the first event after that.
    cancelled: Vec<(String, String, usize)>,
    forgotten: Vec<String>,
    tests: Vec<(String, String)>,
    /// Each delivery that was seen to be over: its state, and how often it had come then.
    over: HashMap<String, (Value, Came, usize)>,
    /// Deliveries that may have been begun anew, with how often they had come before.
    again: HashMap<String, (Came, usize, bool)>,
}

struct World {
    url: String,
    server: Mutex<Option<Client>>,
    over: AtomicBool,
    noted: Mutex<Noted>,
    posted: AtomicUsize,
}

impl World {
    /// One request; none if the server is gone.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Option<Answer> {
        match body {
            Value::Null => self.ask_with(method, path, ""),
            body => self.ask_with(method, path, &body.to_string()),
        }
    }

    fn ask_with(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let server = self.server.lock().unwrap().clone();
        let answer = server.and_then(|server| server.try_ask(method, path, body).ok());
        if answer.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(answer) = &answer {
            assert!(answer.status < 500, "{method} {path}: {answer:?}");
        }
        answer
    }

    /// Asks until there is an answer; none once all is over.
    fn insist(&self, method: &str, path: &str, body: &Value) -> Option<Answer> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.insist_with(method, path, &body)
    }

    fn insist_with(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        while !self.over.load(Ordering::Relaxed) {
            if let Some(answer) = self.ask_with(method, path, body) {
                return Some(answer);
            }
        }
        None
    }

    /// Registers a destination of that name; another attempt has another path.
    fn register(
        &self,
        key: &str,
        name: &str,
        event_type: Option<&str>,
    ) -> Option<(String, String)> {
        for attempt in 0.. {
            let path = format!("/{key}/{name}/{attempt}");
            let body = registration(&format!("{}{path}", self.url), event_type);
            if let Some(answer) = self.ask("POST", &callbacks(key), &body) {
                let made = answer.expect(201).json();
                let own = made["url"].as_str().unwrap().to_owned();
                self.noted
                    .lock()
                    .unwrap()
                    .entities
                    .insert(own.clone(), made);
                return Some((path, own));
            }
            if self.over.load(Ordering::Relaxed) {
                break;
            }
        }
        None
    }

    /// Changes something until that is answered; in between nobody can tell how it stands.
    fn last(&self, method: &str, own: &str, body: &Value) -> Option<Value> {
        self.noted.lock().unwrap().entities.remove(own);
        Some(self.insist(method, own, body)?.expect(200).json())
    }

    /// A customer: registers, then posts, and now and then does something else.
    fn customer(&self, number: usize) -> Option<()> {
        let key = format!("company-{number}");
        let path = format!("/_mock/routes?company_key={key}");
        self.insist_with("PUT", &path, ROUTES)?.expect(204);
        for name in ["all/a", "all/b"] {
            self.register(&key, name, None)?;
        }
        for turn in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let event_id = format!("{key}-{turn}");
            let event_type = if turn % 3 == 0 { "refused" } else { "quick" };
            let path = format!("/companies/{key}/events");
            if let Some(answer) = self.ask("POST", &path, &event(&event_id, event_type)) {
                answer.expect(202);
                let mut noted = self.noted.lock().unwrap();
                noted
                    .events
                    .push((event_id.clone(), event_type, key.clone()));
                self.posted.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(4));
            match turn % 12 {
                2 => self.change(&key, turn)?,
                5 => {
                    let made = self.insist("POST", &campaigns(&key), &campaign(&event_id))?;
                    let made = made.expect(202).json();
                    let own = made["url"].as_str().unwrap().to_owned();
                    let changed = self.last("PUT", &own, &campaign(&format!("{event_id}-2")))?;
                    self.noted.lock().unwrap().entities.insert(own, changed);
                }
                8 => self.forget(&format!("forgotten-{number}-{turn}"))?,
                11 => {
                    let path = format!("/companies/{key}/config/callback_events/test");
                    let body = json!({"callback_type": "event_processed"});
                    let answer = self.insist("POST", &path, &body)?;
                    let event_id = answer.expect(201).json()["event_id"].clone();
                    let event_id = event_id.as_str().unwrap().to_owned();
                    self.noted
                        .lock()
                        .unwrap()
                        .tests
                        .push((event_id, key.clone()));
                }
                _ => {}
            }
        }
        Some(())
    }

    /// A registration that is changed, and one that is cancelled.
    fn change(&self, key: &str, turn: usize) -> Option<()> {
        let (path, own) =
            self.register(key, &format!("other-{turn}"), Some("nobody_posts_this"))?;
        let body = registration(&format!("{}{path}/new", self.url), Some("nor_this"));
        let changed = self.last("PUT", &own, &body)?;
        self.noted
            .lock()
            .unwrap()
            .entities
            .insert(own.clone(), changed);
        let (path, ended) = self.register(key, &format!("cancelled-{turn}"), None)?;
        let cancelled = self.last("DELETE", &ended, &Value::Null)?;
        assert!(cancelled["end_date"].is_string(), "{cancelled}");
        let mut noted = self.noted.lock().unwrap();
        noted.entities.insert(ended, cancelled);
        noted.cancelled.push((path, format!("{key}-"), turn + 1));
        drop(noted);
        // So many may be active at once.
        let ended = self.last("DELETE", &own, &Value::Null)?;
        self.noted.lock().unwrap().entities.insert(own, ended);
        Some(())
    }

    fn forget(&self, key: &str) -> Option<()> {
        let (_, own) = self.register(key, "all", None)?;
        self.insist("POST", &campaigns(key), &campaign("gone"))?;
        let path = format!("/companies/{key}/events");
        for kind in ["quick", "late"] {
            self.insist("POST", &path, &event(&format!("{key}-{kind}"), kind))?;
        }
        // From here on nobody may expect it.
        self.noted.lock().unwrap().entities.remove(&own);
        let path = format!("/_mock/companies/{key}");
        self.insist("DELETE", &path, &Value::Null)?.expect(204);
        self.noted.lock().unwrap().forgotten.push(key.to_owned());
        Some(())
    }

    /// Looks at what is over, and begins some of that anew.
    fn watcher(&self, times: &Times) {
        let mut after: HashMap<String, String> = HashMap::new();
        for turn in 0_usize.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("company-{}", turn % CUSTOMERS);
            // Pages, from where the last one ended; from the beginning once there is none left.
            let from = after.get(&key).cloned().unwrap_or_default();
            let query = format!("limit=60&state=accepted&state=failed&company_key={key}{from}");
            let Some(answer) = self.ask("GET", &format!("/_mock/deliveries?{query}"), &Value::Null)
            else {
                continue;
            };
            let page = answer.expect(200).json();
            let next = page["next"].as_str();
            after.insert(
                key,
                next.map_or(String::new(), |next| format!("&after={next}")),
            );
            for delivery in page["deliveries"].as_array().unwrap() {
                self.look(delivery, times);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn look(&self, delivery: &Value, times: &Times) {
        let id = delivery["id"].as_str().unwrap().to_owned();
        let came = sent(delivery);
        let often = times.lock().unwrap().get(&came).copied();
        let often = often.unwrap_or_else(|| panic!("it never came: {delivery}"));
        let mut noted = self.noted.lock().unwrap();
        if noted.again.contains_key(&id) {
            return;
        }
        match noted.over.get(&id) {
            Some((state, _, before)) => {
                assert_eq!(*state, delivery["state"], "{delivery}");
                assert_eq!(*before, often, "sent again: {delivery}");
            }
            None => {
                let over = (delivery["state"].clone(), came.clone(), often);
                noted.over.insert(id.clone(), over);
            }
        }
        if draw(&came.1) % 15 == 1 {
            noted.over.remove(&id);
            noted.again.insert(id.clone(), (came.clone(), often, false));
            drop(noted);
            let path = format!("/_mock/deliveries/{id}/redeliver");
            if let Some(answer) = self.ask("POST", &path, &Value::Null) {
                answer.expect(202);
                self.noted
                    .lock()
                    .unwrap()
                    .again
                    .insert(id, (came, often, true));
            }
        }
    }
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_promised() {
    let home = Home::new(&["--seed", "5"]);
    let (receiver, times) = picky();
    let base = receiver.url();
    let world = World {
        url: base.trim_end_matches("/callbacks").to_owned(),
        server: Mutex::default(),
        over: AtomicBool::new(false),
        noted: Mutex::default(),
        posted: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        for number in 0..CUSTOMERS {
            let world = &world;
            scope.spawn(move || world.customer(number));
        }
        scope.spawn(|| world.watcher(&times));
        let _end = OnDrop(|| world.over.store(true, Ordering::Relaxed));
        for life in 0..KILLS {
            let (process, client) = home.start();
            *world.server.lock().unwrap() = Some(client);
            // At moments that differ, from before anything has come; but the disk may be slow today, and then
            // most of the lives are longer.
            let (began, before) = (Instant::now(), world.posted.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis((20 + life * 37 % 130) as u64));
            while life % 4 > 0
                && world.posted.load(Ordering::Relaxed) < before + 4
                && began.elapsed() < Duration::from_secs(1)
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Kills it.
            drop(process);
        }
    });
    let (process, client) = home.start();
    settle(&client);
    let noted = world.noted.into_inner().unwrap();
    // Not even for a company that is just being forgotten.
    let empty = |request: &Request| request.body.is_empty();
    assert!(
        !receiver.requests().iter().any(empty),
        "a request without a callback"
    );
    let times = times.lock().unwrap().clone();
    check(&client, &noted, &times);
    let begun_anew = noted.again.values().filter(|again| again.2).count();
    let enough = [
        (noted.events.len(), 100, "events"),
        (noted.over.len(), 50, "deliveries that were seen to be over"),
        (begun_anew, 1, "deliveries begun anew"),
        (noted.cancelled.len(), 3, "cancelled registrations"),
        (noted.forgotten.len(), 3, "forgotten companies"),
        (noted.tests.len(), 1, "test callbacks"),
    ];
    for (number, least, what) in enough {
        assert!(number >= least, "only {number} {what}");
    }
    // An orderly end changes nothing.
    let before = deliveries(&client, "").unwrap();
    terminate(process).expect_code(0);
    let (process, client) = home.start();
    assert_eq!(deliveries(&client, "").unwrap(), before);
    terminate(process).expect_code(0);
    assert!(!home.folder.path().join("state.sqlite-wal").exists());
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn check(client: &Client, noted: &Noted, times: &HashMap<Came, usize>) {
    for (path, wanted) in &noted.entities {
        assert_eq!(client.get(path).expect(200).json(), *wanted, "{path}");
    }
    let known = client.get("/_mock/companies").expect(200).json();
    for key in &noted.forgotten {
        let there = known.as_array().unwrap().iter();
        assert_eq!(there.filter(|one| one["company_key"] == **key).count(), 0);
        assert_eq!(client.get(&callbacks(key)).expect(200).json(), json!([]));
        let left = deliveries(client, &format!("company_key={key}")).unwrap();
        assert_eq!(left, Vec::<Value>::new());
    }
    let mut shown: HashMap<String, Vec<Value>> = HashMap::new();
    let mut by_id: HashMap<String, Value> = HashMap::new();
    for delivery in deliveries(client, "").unwrap() {
        by_id.insert(
            delivery["id"].as_str().unwrap().to_owned(),
            delivery.clone(),
        );
        let event_id = delivery["event_id"].as_str().unwrap().to_owned();
        shown.entry(event_id).or_default().push(delivery);
    }
    let registered = |key: &str| {
        let paths = noted.entities.iter().filter(|(path, one)| {
            let is_for_all = one["destination"]["url"]
                .as_str()
                .is_some_and(|url| url.contains("/all/"));
            path.starts_with(&callbacks(key)) && is_for_all
        });
        paths
            .map(|(_, one)| one["callback_id"].clone())
            .collect::<Vec<_>>()
    };
    let expected: Vec<(&String, &str, &String)> = noted
        .events
        .iter()
        .map(|(event_id, kind, key)| (event_id, *kind, key))
        .collect();
    for (event_id, kind, key) in expected {
        for callback_id in registered(key) {
            for outcome in outcomes(kind) {
                let all = shown.get(event_id).into_iter().flatten();
                let mut found = all.clone().filter(|delivery| {
                    delivery["outcome"] == **outcome && delivery["callback_id"] == callback_id
                });
                let first = found.next();
                assert!(
                    first.is_some(),
                    "{event_id}: no {outcome} for {callback_id} among {:#?}",
                    all.collect::<Vec<_>>()
                );
                arrived(event_id, outcome, first, times);
                assert!(found.next().is_none(), "twice: {event_id} {outcome}");
            }
        }
    }
    for (event_id, key) in &noted.tests {
        for callback_id in registered(key) {
            let mut found = shown.get(event_id).into_iter().flatten();
            let found = found.find(|delivery| delivery["callback_id"] == callback_id);
            arrived(event_id, "routing.accepted", found, times);
        }
    }
    for (path, prefix, from) in &noted.cancelled {
        for delivery in shown.values().flatten() {
            let event_id = delivery["event_id"].as_str().unwrap();
            let number = event_id
                .strip_prefix(prefix)
                .and_then(|n| n.parse::<usize>().ok());
            if number.is_some_and(|number| number >= *from) && !delivery["callback_id"].is_null() {
                assert_ne!(sent(delivery).0, *path, "it was cancelled: {delivery}");
            }
        }
    }
    for (id, (state, came, often)) in &noted.over {
        let now = by_id.get(id).unwrap_or_else(|| panic!("{id} is gone"));
        assert_eq!(now["state"], *state, "{now}");
        assert_eq!(times[came], *often, "sent again: {now}");
    }
    for (id, (came, before, promised)) in &noted.again {
        let now = &by_id[id];
        assert!(
            ["accepted", "failed"].contains(&now["state"].as_str().unwrap()),
            "{now}"
        );
        assert!(!promised || times[came] > *before, "not sent again: {now}");
    }
    // Attempts are counted through.
    for delivery in by_id.values() {
        let attempts = delivery["attempts"].as_array().unwrap();
        let numbers = attempts
            .iter()
            .map(|attempt| attempt["number"].as_u64().unwrap());
        assert!(numbers.eq(1..=attempts.len() as u64), "{delivery}");
    }
    // Nothing came twice but what was under way.
    let mut repeated: HashMap<&str, usize> = HashMap::new();
    for delivery in by_id.values().filter(|one| !one["callback_id"].is_null()) {
        let came = sent(delivery);
        let kept = delivery["attempts"].as_array().unwrap().len();
        let path = times.get_key_value(&came).map(|(came, _)| came.0.as_str());
        if let Some(path) = path {
            *repeated.entry(path).or_default() += times[&came].saturating_sub(kept);
        }
    }
    for (path, repeated) in repeated {
        assert!(
            repeated <= KILLS * CONNECTIONS,
            "{path}: {repeated} repeated"
        );
    }
}

fn arrived(event_id: &str, outcome: &str, found: Option<&Value>, times: &HashMap<Came, usize>) {
    let delivery = found.unwrap_or_else(|| panic!("lost: {event_id} {outcome}"));
    let came = sent(delivery);
    assert!(times.contains_key(&came), "it never came: {delivery}");
    let wanted = if is_refused(&came) {
        "failed"
    } else {
        "accepted"
    };
    assert_eq!(delivery["state"], wanted, "{delivery}");
}

/// Waits for so many deliveries that are over.
fn over(client: &Client, query: &str, number: usize) -> Vec<Value> {
    let wait = format!(
        "/_mock/deliveries?state=accepted&state=failed&limit=1000&wait=30s&at_least={number}&{query}"
    );
    let found = client.get(&wait).expect(200).json();
    let found = found["deliveries"].as_array().unwrap().clone();
    assert!(found.len() >= number, "{} of {number}", found.len());
    found
}

fn post(client: &Client, key: &str, event_id: &str, event_type: &str) {
    let path = format!("/companies/{key}/events");
    client.post(&path, &event(event_id, event_type)).expect(202);
}

#[test]
fn what_was_due_meanwhile_comes_at_once_and_in_order() {
    let home = Home::new(&[]);
    let receiver = Receiver::answering("200 OK");
    let (process, client) = home.start();
    register(&client, &receiver);
    for number in 0..60 {
        post(&client, "k", &format!("e{number}"), "quick");
    }
    drop(process);
    let before = receiver.requests().len();
    // The receipts of the handsets become due.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(receiver.requests().len(), before);
    let (process, client) = home.start();
    let began = Instant::now();
    let all = over(&client, "company_key=k", 240);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(all.iter().all(|delivery| delivery["state"] == "accepted"));
    let due: HashMap<String, &str> = all
        .iter()
        .map(|delivery| (sent(delivery).1, delivery["due"].as_str().unwrap()))
        .collect();
    let after = receiver.requests().split_off(before);
    assert!(after.len() >= 60, "only {} were left", after.len());
    let order: Vec<&str> = after.iter().map(|request| due[&came(request).1]).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    // Several connections carry them, so that neighbours may change places.
    for (place, due) in order.iter().enumerate() {
        let first = sorted.partition_point(|other| other < due);
        let last = sorted.partition_point(|other| other <= due);
        let near = first.saturating_sub(CONNECTIONS)..=last + CONNECTIONS;
        assert!(
            near.contains(&place),
            "{due} came in place {place}, not {first}"
        );
    }
    terminate(process).expect_code(0);
}

#[test]
fn an_orderly_end_waits_for_what_is_under_way_and_repeats_nothing() {
    let home = Home::new(&[]);
    let receiver = Receiver::with(|_, _| {
        std::thread::sleep(Duration::from_millis(100));
        "200 OK".to_owned()
    });
    let (process, client) = home.start();
    register(&client, &receiver);
    for number in 0..40 {
        post(&client, "k", &format!("e{number}"), "quick");
    }
    receiver.wait_for(20);
    terminate(process).expect_code(0);
    assert!(!home.folder.path().join("state.sqlite-wal").exists());
    let before = receiver.requests().len();
    assert!(before < 160);
    assert_eq!(home.rows("attempts"), before as i64);
    let (process, client) = home.start();
    over(&client, "company_key=k", 160);
    terminate(process).expect_code(0);
    assert_eq!(receiver.requests().len(), 160);
}

#[test]
fn a_clock_that_is_moved_by_hand_stands_where_it_stood() {
    let home = Home::new(&["--clock", "virtual"]);
    let receiver = Receiver::answering("200 OK");
    let now = |client: &Client| client.get("/_mock/clock").expect(200).json()["now"].clone();
    let (process, client) = home.start();
    let first = now(&client);
    register(&client, &receiver);
    post(&client, "k", "e", "late");
    drop(process);
    let (process, client) = home.start();
    assert_eq!(now(&client), first, "before it was moved");
    let advance = |client: &Client, by: &str| client.advance(&json!({"by": by})).json();
    advance(&client, "59m");
    let moved = now(&client);
    assert_ne!(moved, first);
    assert_eq!(receiver.requests().len(), 2);
    drop(process);
    let (process, client) = home.start();
    assert_eq!(now(&client), moved);
    assert_eq!(receiver.requests().len(), 2, "nothing is due yet");
    advance(&client, "2m");
    assert!(receiver.requests().len() > 2);
    terminate(process).expect_code(0);
    let clock = home.start();
    assert_eq!(clock.1.get("/_mock/clock").json()["mode"], "virtual");
    assert_ne!(now(&clock.1), moved);
}

#[test]
fn a_clock_that_runs_never_goes_back() {
    let home = Home::new(&["--speed", "3600x"]);
    let now = |client: &Client| client.get("/_mock/clock").expect(200).json()["now"].clone();
    let (process, client) = home.start();
    post(&client, "k", "e", "late");
    // Two hours.
    std::thread::sleep(Duration::from_secs(2));
    let reached = now(&client);
    terminate(process).expect_code(0);
    let (_process, client) = home.start();
    assert!(now(&client).as_str() >= reached.as_str());
}

#[test]
fn a_delivery_that_is_begun_anew_has_all_its_retries_again_after_a_restart() {
    let home = Home::new(&["--clock", "virtual"]);
    let receiver = Receiver::answering("503 Service Unavailable");
    let (process, client) = home.start();
    register(&client, &receiver);
    post(&client, "k", "e", "refused");
    let idle = json!({"until": "idle"});
    client.advance(&idle);
    let failed = over(&client, "state=failed", 3);
    let id = failed[0]["id"].as_str().unwrap().to_owned();
    let attempts = |client: &Client| {
        let shown = client
            .get(&format!("/_mock/deliveries/{id}"))
            .expect(200)
            .json();
        let numbers: Vec<u64> = shown["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|attempt| attempt["number"].as_u64().unwrap())
            .collect();
        (shown["state"].clone(), numbers)
    };
    assert_eq!(attempts(&client), (json!("failed"), (1..=6).collect()));
    drop(process);
    let (process, client) = home.start();
    assert_eq!(attempts(&client), (json!("failed"), (1..=6).collect()));
    let path = format!("/_mock/deliveries/{id}/redeliver");
    client.post(&path, &Value::Null).expect(202);
    drop(process);
    let (_process, client) = home.start();
    client.advance(&idle);
    assert_eq!(attempts(&client), (json!("failed"), (1..=12).collect()));
}

#[test]
fn a_registration_that_is_made_later_gets_nothing_of_before() {
    let home = Home::new(&[]);
    let receiver = Receiver::answering("200 OK");
    let (process, client) = home.start();
    register(&client, &receiver);
    post(&client, "k", "e", "quick");
    over(&client, "company_key=k", 4);
    // One that says it has been there all the time, and one that takes more from now on.
    let mut late = registration(&format!("{}/late", receiver.url()), None);
    late["start_date"] = "2017-01-01".into();
    client.post(&callbacks("k"), &late).expect(201);
    drop(process);
    let (process, client) = home.start();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(deliveries(&client, "company_key=k").unwrap().len(), 4);
    assert_eq!(receiver.requests().len(), 4);
    terminate(process).expect_code(0);
}

#[test]
fn what_is_over_is_kept_within_bounds_and_what_is_not_for_good() {
    let home = Home::new(&["--keep-rows", "200"]);
    let receiver = Receiver::answering("200 OK");
    let (process, client) = home.start();
    register(&client, &receiver);
    post(&client, "k", "pending", "late");
    for number in 0..150 {
        post(&client, "k", &format!("e{number}"), "refused");
    }
    let bounded = |client: &Client| {
        let began = Instant::now();
        loop {
            let kept = deliveries(client, "company_key=k").unwrap();
            let is_over = |one: &&Value| one["state"] == "accepted";
            // Those of the pending event come on top.
            if kept.iter().filter(is_over).count() <= 202 && home.rows("events") < 70 {
                return kept;
            }
            assert!(began.elapsed() < PATIENCE, "{} are kept", kept.len());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    while receiver.requests().len() < 452 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let kept = bounded(&client);
    let has = |kept: &[Value], event_id: &str| kept.iter().any(|one| one["event_id"] == event_id);
    assert!(has(&kept, "pending") && has(&kept, "e149") && !has(&kept, "e0"));
    // The second event was the first to go.
    let answer = client.get("/_mock/deliveries/2-0-1");
    answer.expect(404);
    assert!(home.rows("attempts") < 230);
    drop(process);
    let (process, client) = home.start();
    let kept = bounded(&client);
    assert!(has(&kept, "pending") && has(&kept, "e149") && !has(&kept, "e0"));
    assert!(kept.iter().any(|one| one["state"] == "pending"));
    terminate(process).expect_code(0);
    assert_eq!(receiver.requests().len(), 452, "nothing comes again");
}

#[test]
fn what_is_over_is_kept_for_a_while() {
    let home = Home::new(&["--keep", "1s"]);
    let receiver = Receiver::answering("200 OK");
    let (process, client) = home.start();
    register(&client, &receiver);
    post(&client, "k", "pending", "late");
    post(&client, "k", "over", "refused");
    over(&client, "event_id=over", 3);
    let began = Instant::now();
    while home.rows("events") > 1 {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() > Duration::from_millis(500));
    let left = deliveries(&client, "").unwrap();
    assert!(
        left.iter().all(|one| one["event_id"] == "pending"),
        "{left:?}"
    );
    terminate(process).expect_code(0);
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    let home = Home::new(&[]);
    let refused = |words: &[&str]| {
        let before = fs::read(home.data()).unwrap();
        let ran = Process::start(&mut home.command()).end().expect_code(2);
        for word in words {
            assert!(ran.err.contains(word), "{word}: {}", ran.err);
        }
        assert!(fs::read(home.data()).unwrap() == before, "it was touched");
    };
    let sqlite = |text: &str| {
        let _ = fs::remove_file(home.data());
        let connection = rusqlite::Connection::open(home.data()).unwrap();
        connection.execute_batch(text).unwrap();
    };
    fs::write(home.data(), "a diary, not a database of any kind").unwrap();
    refused(&[
        "state.sqlite",
        "it is not an SQLite file",
        "name another file",
    ]);
    sqlite("CREATE TABLE diary (day TEXT)");
    refused(&[
        "it is an SQLite file of another program",
        "name another file",
    ]);
    // A journal of `run`.
    let scenario = "scenario: S\njourneys: {a: {message: {type: sms, text: Hi}}}\nevents:\n\
                    - {event_type: t, count: 1, event_data: {mdn: \"+15555550100\"}, journey: a}\n";
    fs::write(home.folder.path().join("s.yaml"), scenario).unwrap();
    fs::remove_file(home.data()).unwrap();
    let mut run = program();
    run.current_dir(home.folder.path());
    run.args([
        "run",
        "s.yaml",
        "--speed",
        "max",
        "--journal",
        "state.sqlite",
    ]);
    Process::start(&mut run).end().expect_code(0);
    refused(&["it is the journal of a `vibes-mock run`"]);
    // One of a later version.
    fs::remove_file(home.data()).unwrap();
    terminate(home.start().0).expect_code(0);
    let connection = rusqlite::Connection::open(home.data()).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99")
        .unwrap();
    drop(connection);
    refused(&[
        "its tables are of version 99",
        "use the vibes-mock that wrote it",
    ]);
}

#[test]
fn two_servers_do_not_use_one_file() {
    let home = Home::new(&[]);
    let (process, client) = home.start();
    let ran = Process::start(&mut home.command()).end().expect_code(2);
    assert!(
        ran.err.contains("another `vibes-mock serve` is using it"),
        "{}",
        ran.err
    );
    post(&client, "k", "e", "quick");
    terminate(process).expect_code(0);
    let (process, client) = home.start();
    assert_eq!(deliveries(&client, "event_id=e").unwrap().len(), 4);
    terminate(process).expect_code(0);
}

#[test]
fn a_full_disk_refuses_what_is_new_and_serves_the_rest() {
    let home = Home::new(&[]);
    let words: Vec<String> = std::iter::once(env!("CARGO_BIN_EXE_vibes-mock"))
        .chain(home.words())
        .map(|word| format!("'{word}'"))
        .collect();
    // In blocks of 512 bytes; the signal that goes with it is not for us.
    let script = format!("trap '' XFSZ; ulimit -S -f 400; exec {}", words.join(" "));
    let mut shell = program_of("sh", home.folder.path());
    let receiver = Receiver::answering("200 OK");
    let (process, client) = home.start_as(shell.args(["-c", &script]));
    let made = client.post(&callbacks("k"), &registration(&receiver.url(), None));
    let own = made.expect(201).json()["url"].as_str().unwrap().to_owned();
    let path = "/companies/k/events";
    let mut accepted = 0;
    let refused = loop {
        let mut big = event(&format!("e{accepted}"), "late");
        big["event_data"]["note"] = "x".repeat(8000).into();
        let answer = client.post(path, &big);
        match answer.status {
            202 => accepted += 1,
            _ => break answer.expect(503),
        }
        assert!(accepted < 1000, "the disk is not full");
    };
    assert!(
        refused.body.contains("no room") || refused.body.contains("disk"),
        "{refused:?}"
    );
    // What was refused is not there, and can be tried again.
    let other = registration(&format!("{}/other", receiver.url()), None);
    for _ in 0..2 {
        let answer = client.post(&callbacks("k"), &other);
        assert!([201, 503].contains(&answer.status), "{answer:?}");
        if answer.status == 201 {
            break;
        }
    }
    client.get(&own).expect(200);
    let shown = deliveries(&client, "company_key=k").unwrap();
    let refused_one = format!("e{accepted}");
    assert!(
        !shown
            .iter()
            .any(|one| one["event_id"] == *refused_one && one["state"] == "pending")
    );
    // There is room again.
    let more = Command::new("prlimit")
        .args([&format!("--pid={}", process.id()), "--fsize=unlimited"])
        .status();
    if more.is_ok_and(|status| status.success()) {
        post(&client, "k", "there-is-room", "late");
        accepted += 1;
    }
    drop(process);
    let (process, client) = home.start();
    client.get(&own).expect(200);
    let shown = deliveries(&client, "company_key=k").unwrap();
    let events: std::collections::HashSet<&str> = shown
        .iter()
        .map(|one| one["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(events.len(), accepted);
    terminate(process).expect_code(0);
}

fn program_of(name: &str, folder: &std::path::Path) -> Command {
    let mut command = Command::new(name);
    command
        .current_dir(folder)
        .stdin(std::process::Stdio::null());
    command
}
