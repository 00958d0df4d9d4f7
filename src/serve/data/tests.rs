use std::future::poll_fn;
use std::path::PathBuf;
use std::task::Poll;

use super::*;

/// A folder with the name of a file that is not there yet.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    (folder, path)
}

fn acme() -> Arc<str> {
    Arc::from("acme")
}

fn event(company: &str, seq: u64) -> Change {
    Change::Event {
        company: Arc::from(company),
        seq,
        json: format!(r#"{{"event_id":"e-{seq}"}}"#),
    }
}

fn attempt(seq: u64, step: u16, registration: u64, attempt: u32) -> Change {
    Change::Attempt {
        seq,
        step,
        registration,
        attempt,
        at: 1_700_000_000_000_000_000 + u64::from(attempt),
        state: State::Accepted,
        retry_at: None,
        status: Some(204),
        failure: None,
        answer: Some(Box::from("ok")),
        latency_us: 812,
        destinations: 1,
    }
}

async fn write_all(data: &Data, changes: impl IntoIterator<Item = Change>) {
    let written: Vec<Written> = changes
        .into_iter()
        .map(|change| data.write(change))
        .collect();
    for written in written {
        written.await.unwrap();
    }
}

fn end(data: Data, writing: Writing) {
    data.close();
    writing.join();
}

fn events(saved: &Saved) -> Vec<KeptEvent> {
    let mut events = Vec::new();
    saved
        .events(|event| {
            events.push(event);
            Ok(())
        })
        .unwrap();
    events
}

fn seqs(saved: &Saved) -> Vec<u64> {
    events(saved).iter().map(|event| event.seq).collect()
}

fn count(path: &Path, query: &str) -> i64 {
    let connection = open_to_read(path).unwrap();
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

/// Keeps the thread from committing until the connection is dropped; it has one change in its hands.
fn hold(path: &Path, data: &Data) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(data.write(Change::Clock { now: 1 }));
    while data.waiting() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    connection
}

fn refusal(path: &Path) -> String {
    match open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn everything_is_read_back() {
    let (_folder, path) = place();
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(saved.companies, []);
    assert_eq!((saved.highest, saved.clock), (Highest::default(), None));
    assert_eq!(events(&saved), []);
    let registration = |id, json: &str| Change::Registration {
        company: acme(),
        id,
        json: json.to_owned(),
    };
    let campaign = |id, json: &str| Change::Campaign {
        company: acme(),
        id,
        json: json.to_owned(),
    };
    let routes = |company: &str, text: Option<&str>| Change::Routes {
        company: Arc::from(company),
        text: text.map(str::to_owned),
    };
    let failed = Change::Attempt {
        seq: 2,
        step: 0,
        registration: 9,
        attempt: 1,
        at: 5,
        state: State::Retrying,
        retry_at: Some(u64::MAX),
        status: None,
        failure: Some(("timeout", "no answer within 10s".to_owned())),
        answer: None,
        latency_us: 10_000_000,
        destinations: 1,
    };
    let changes = [
        registration(9, "{\"v\":1}"),
        registration(4, "{}"),
        registration(9, "{\"v\":2}"),
        campaign(70, "{\"name\":\"é\"}"),
        routes("acme", Some("routes: []")),
        routes("other", Some("routes: []")),
        routes("other", None),
        event("acme", 2),
        event("other", 1),
        // Not in the order of reading.
        attempt(2, 1, 9, 1),
        failed.clone(),
        attempt(2, 0, 4, 2),
        attempt(2, 0, 4, 1),
        Change::Unmatched { seq: 1, step: 3 },
        Change::Unmatched { seq: 1, step: 0 },
        Change::Clock { now: 77 },
        Change::Clock { now: 78 },
    ];
    write_all(&data, changes).await;
    end(data, writing);

    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(
        saved.companies,
        [
            Company {
                key: acme(),
                registrations: vec![(4, "{}".to_owned()), (9, "{\"v\":2}".to_owned())],
                campaigns: vec![(70, "{\"name\":\"é\"}".to_owned())],
                routes: Some("routes: []".to_owned()),
            },
            Company {
                key: Arc::from("other"),
                registrations: vec![],
                campaigns: vec![],
                routes: None,
            },
        ]
    );
    let highest = Highest {
        seq: 2,
        registration: 9,
        campaign: 70,
    };
    assert_eq!((saved.highest, saved.clock), (highest, Some(78)));
    let read = events(&saved);
    assert_eq!(&*read[0].company, "other");
    assert_eq!((read[0].seq, &*read[0].unmatched), (1, &[0, 3][..]));
    assert_eq!(read[0].attempts, []);
    assert_eq!(read[1].json, r#"{"event_id":"e-2"}"#);
    assert!(read[1].unmatched.is_empty());
    let keys: Vec<_> = read[1]
        .attempts
        .iter()
        .map(|attempt| (attempt.step, attempt.registration, attempt.attempt))
        .collect();
    assert_eq!(keys, [(0, 4, 1), (0, 4, 2), (0, 9, 1), (1, 9, 1)]);
    assert_eq!(
        read[1].attempts[2],
        KeptAttempt {
            step: 0,
            registration: 9,
            attempt: 1,
            at: 5,
            state: State::Retrying,
            retry_at: Some(u64::MAX),
            status: None,
            failure: Some(("timeout".to_owned(), "no answer within 10s".to_owned())),
            answer: None,
            latency_us: 10_000_000,
            destinations: 1,
        }
    );
    let other = &read[1].attempts[3];
    assert_eq!(
        (other.status, other.answer.as_deref()),
        (Some(204), Some("ok"))
    );
    end(data, writing);
}

#[tokio::test]
async fn what_waits_goes_into_one_transaction_in_the_order_of_sending() {
    let (_folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    let held = hold(&path, &data);
    let written: Vec<Written> = (0..BATCHES * 4096)
        .map(|number| {
            data.write(Change::Routes {
                company: acme(),
                text: Some(number.to_string()),
            })
        })
        .collect();
    assert_eq!(data.commits(), 0);
    drop(held);
    for written in written {
        written.await.unwrap();
    }
    // With the one that was held up.
    assert_eq!(data.commits(), BATCHES + 1);
    end(data, writing);
    let (data, saved, writing) = open(&path).unwrap();
    let last = (BATCHES * 4096 - 1).to_string();
    assert_eq!(saved.companies[0].routes.as_deref(), Some(&*last));
    end(data, writing);
}

const BATCHES: u64 = 3;

#[tokio::test]
async fn who_brings_more_waits_for_room() {
    let (_folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    let held = hold(&path, &data);
    let large = |seq| Change::Event {
        company: acme(),
        seq,
        json: "x".repeat(1 << 20),
    };
    data.room().await;
    let written: Vec<Written> = (1..=17).map(|seq| data.write(large(seq))).collect();
    let asked = data.clone();
    // A task of a server may wait.
    let mut room: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(asked.room());
    let waits = poll_fn(|context| Poll::Ready(room.as_mut().poll(context).is_pending())).await;
    assert!(waits);
    drop(held);
    room.await;
    for written in written {
        written.await.unwrap();
    }
    end(data, writing);
}

#[tokio::test]
async fn what_never_fits_holds_up_the_thread_and_no_memory() {
    let (_folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    let held = hold(&path, &data);
    let (sent, count) = (data.clone(), Arc::new(std::sync::atomic::AtomicU64::new(0)));
    let counted = Arc::clone(&count);
    let sender = std::thread::spawn(move || {
        for seq in 0..120 {
            // Nobody waits for these.
            drop(sent.write(Change::Event {
                company: acme(),
                seq,
                json: "x".repeat(1 << 20),
            }));
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    let so_far = count.load(std::sync::atomic::Ordering::SeqCst);
    // A slow machine may not have come so far.
    assert!(so_far <= 65, "{so_far}");
    drop(held);
    sender.join().unwrap();
    end(data, writing);
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(seqs(&saved).len(), 120);
    end(data, writing);
}

#[tokio::test]
async fn what_was_told_as_written_survives_a_kill() {
    let (folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    write_all(&data, (1..=3000).map(|seq| event("acme", seq))).await;
    write_all(&data, (1..=3000).map(|seq| attempt(seq, 0, 1, 1))).await;
    // What the disk has while the program still runs is what a kill leaves.
    let copy = folder.path().join("killed.sqlite");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(
        folder.path().join("state.sqlite-wal"),
        folder.path().join("killed.sqlite-wal"),
    )
    .unwrap();
    let (again, saved, done) = open(&copy).unwrap();
    let read = events(&saved);
    assert_eq!(read.len(), 3000);
    assert!(read.iter().all(|event| event.attempts.len() == 1));
    assert_eq!(saved.highest.seq, 3000);
    end(again, done);
    end(data, writing);
}

#[tokio::test]
async fn without_an_orderly_end_all_is_written_and_the_file_is_free() {
    let (folder, path) = place();
    let (data, saved, writing) = open(&path).unwrap();
    for seq in 1..=100 {
        // Nobody waits.
        drop(data.write(event("acme", seq)));
    }
    drop((data, saved));
    writing.join();
    assert!(!folder.path().join("state.sqlite-wal").exists());
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(seqs(&saved), (1..=100).collect::<Vec<_>>());
    data.close();
    let refused = data.write(event("acme", 101)).await.unwrap_err();
    assert!(refused.contains("the server is ending"), "{refused}");
    data.room().await;
    writing.join();
}

#[tokio::test]
async fn evicted_events_make_room_for_others() {
    const ROUND: u64 = 2000;
    let (folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    let (mut pages, mut log) = (Vec::new(), 0);
    for round in 0..8 {
        let seqs = round * ROUND + 1..=(round + 1) * ROUND;
        write_all(&data, seqs.clone().map(|seq| event("acme", seq))).await;
        write_all(
            &data,
            seqs.clone()
                .flat_map(|seq| [attempt(seq, 0, 1, 1), attempt(seq, 1, 1, 1)]),
        )
        .await;
        write_all(
            &data,
            seqs.clone().map(|seq| Change::Unmatched { seq, step: 2 }),
        )
        .await;
        // One at a time, many at once, and not in order.
        let (some, rest): (Vec<u64>, Vec<u64>) = seqs.partition(|seq| seq % 7 == 0);
        write_all(
            &data,
            some.into_iter()
                .map(|seq| Change::Evict { seqs: vec![seq] }),
        )
        .await;
        let rest = rest.into_iter().rev().collect();
        write_all(&data, [Change::Evict { seqs: rest }]).await;
        pages.push(count(&path, "PRAGMA page_count"));
        let file = std::fs::metadata(folder.path().join("state.sqlite-wal")).unwrap();
        log = log.max(file.len());
    }
    // At most what was not deleted yet when the next came.
    assert!(pages[7] < pages[0] * 3, "{pages:?}");
    assert!(log < 16 << 20, "{log}");
    write_all(&data, [event("acme", 100_000)]).await;
    end(data, writing);
    for table in ["events", "attempts", "unmatched"] {
        let left = i64::from(table == "events");
        assert_eq!(
            count(&path, &format!("SELECT count(*) FROM {table}")),
            left,
            "{table}"
        );
    }
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(saved.highest.seq, 100_000);
    write_all(
        &data,
        [Change::Evict {
            seqs: vec![100_000],
        }],
    )
    .await;
    end(data, writing);
    let (data, saved, writing) = open(&path).unwrap();
    // Nothing of it is left, but its number is not given again.
    assert_eq!((&*saved.companies, saved.highest.seq), (&[][..], 100_000));
    end(data, writing);
}

#[tokio::test]
async fn a_forgotten_company_is_gone_at_once_and_may_come_again() {
    const EVENTS: u64 = 5000;
    let (_folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    let forget = || Change::Forget { company: acme() };
    let registration = |company: &str, id| Change::Registration {
        company: Arc::from(company),
        id,
        json: "{}".to_owned(),
    };
    write_all(
        &data,
        [forget(), registration("acme", 5), registration("other", 3)],
    )
    .await;
    write_all(&data, (1..=EVENTS).map(|seq| event("acme", seq))).await;
    write_all(&data, (1..=EVENTS).map(|seq| attempt(seq, 0, 5, 1))).await;
    write_all(
        &data,
        [event("other", EVENTS + 1), attempt(EVENTS + 1, 0, 3, 1)],
    )
    .await;
    // Ended when there was time for a part of the deleting only.
    let held = hold(&path, &data);
    let ended = data.write(forget());
    drop(data.write(attempt(EVENTS, 0, 5, 2)));
    data.close();
    drop(held);
    ended.await.unwrap();
    writing.join();
    assert!(count(&path, "SELECT count(*) FROM events") > 1);

    let (data, saved, writing) = open(&path).unwrap();
    let keys: Vec<_> = saved
        .companies
        .iter()
        .map(|company| &*company.key)
        .collect();
    assert_eq!(keys, ["other"]);
    assert_eq!(seqs(&saved), [EVENTS + 1]);
    assert_eq!(
        (saved.highest.seq, saved.highest.registration),
        (EVENTS + 1, 5)
    );
    write_all(&data, [event("acme", EVENTS + 2)]).await;
    // What was under way meanwhile.
    write_all(
        &data,
        [attempt(1, 1, 5, 1), Change::Unmatched { seq: 1, step: 2 }],
    )
    .await;
    while count(&path, "SELECT count(*) FROM forgotten") > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    write_all(
        &data,
        [attempt(2, 1, 5, 1), Change::Unmatched { seq: 2, step: 2 }],
    )
    .await;
    end(data, writing);
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(seqs(&saved), [EVENTS + 1, EVENTS + 2]);
    assert_eq!(count(&path, "SELECT count(*) FROM events"), 2);
    assert_eq!(count(&path, "SELECT count(*) FROM attempts"), 1);
    assert_eq!(count(&path, "SELECT count(*) FROM unmatched"), 0);
    end(data, writing);
}

#[tokio::test]
async fn a_full_disk_is_told_and_not_the_end() {
    let (_folder, path) = place();
    let (data, _, writing) = open_with(&path, |connection| {
        connection.pragma_update(None, "max_page_count", 60)
    })
    .unwrap();
    let large = |seq| Change::Event {
        company: acme(),
        seq,
        json: "x".repeat(10_000),
    };
    let (mut accepted, mut told) = (Vec::new(), None);
    for seq in 1..100 {
        match data.write(large(seq)).await {
            Ok(()) => accepted.push(seq),
            Err(message) => {
                told = Some(message);
                break;
            }
        }
    }
    let told = told.unwrap();
    assert!(told.contains("there is no room for it"), "{told}");
    assert_eq!(data.trouble(), Some(told));
    assert!(accepted.len() > 5);
    // A new company's number was given up with the transaction.
    let routes = |company: &str| Change::Routes {
        company: Arc::from(company),
        text: Some("y".repeat(500_000)),
    };
    data.write(routes("new")).await.unwrap_err();
    write_all(&data, [Change::Evict { seqs: accepted }]).await;
    for seq in [200, 201] {
        write_all(&data, [event("new", seq)]).await;
    }
    assert_eq!(data.trouble(), None);
    end(data, writing);
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(seqs(&saved), [200, 201]);
    assert_eq!(saved.companies.len(), 1);
    end(data, writing);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_moved_away_is_missed_until_it_is_back() {
    let (folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    write_all(&data, [event("acme", 1)]).await;
    let away = folder.path().join("away.sqlite");
    std::fs::rename(&path, &away).unwrap();
    let told = data.write(event("acme", 2)).await.unwrap_err();
    assert!(told.contains("removed or replaced"), "{told}");
    std::fs::rename(&away, &path).unwrap();
    write_all(&data, [event("acme", 3)]).await;
    end(data, writing);
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!(seqs(&saved), [1, 3]);
    end(data, writing);
}

#[test]
fn a_second_server_is_refused() {
    let (_folder, path) = place();
    let (data, saved, writing) = open(&path).unwrap();
    let refused = refusal(&path);
    assert!(
        refused.contains("another `vibes-mock serve` is using it\n"),
        "{refused}"
    );
    drop(saved);
    end(data, writing);
    let (data, _, writing) = open(&path).unwrap();
    end(data, writing);
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let (folder, path) = place();
    let sqlite = |name: &str, text: &str| {
        let path = folder.path().join(name);
        Connection::open(&path)
            .unwrap()
            .execute_batch(text)
            .unwrap();
        path
    };
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "SQLite is fine, but this is none").unwrap();
    let newer = {
        let (data, saved, writing) = open(&path).unwrap();
        drop(saved);
        end(data, writing);
        std::fs::remove_file(folder.path().join("state.sqlite-lock")).unwrap();
        sqlite("state.sqlite", "PRAGMA user_version = 99")
    };
    let journal = format!(
        "PRAGMA application_id = {}; CREATE TABLE run (key TEXT)",
        sqlite::JOURNAL
    );
    for (path, says) in [
        (
            text,
            "it is not an SQLite file, or a damaged one\nname another",
        ),
        (
            sqlite(
                "foreign.sqlite",
                "PRAGMA journal_mode = WAL; CREATE TABLE t (x)",
            ),
            "it is an SQLite file of another program\nname another",
        ),
        (
            sqlite("journal.sqlite", &journal),
            "it is the journal of a `vibes-mock run`\nname another",
        ),
        (
            newer,
            "its tables are of version 99, and this vibes-mock (0",
        ),
        (folder.path().to_owned(), "directory\nname another"),
    ] {
        let before = std::fs::read(&path).ok();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let there = files();
        let refused = refusal(&path);
        assert!(refused.contains(says), "{refused}");
        assert_eq!(std::fs::read(&path).ok(), before, "{}", path.display());
        assert_eq!(files(), there, "{}", path.display());
    }
    let nowhere = refusal(&folder.path().join("none/state.sqlite"));
    assert!(nowhere.contains("name a file in a folder"), "{nowhere}");
}

#[tokio::test]
async fn a_file_that_is_damaged_or_cut_off_says_so() {
    let (folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    write_all(&data, (1..=2000).map(|seq| event("acme", seq))).await;
    end(data, writing);
    let sound = std::fs::read(&path).unwrap();
    let read = |name: &str, bytes: &[u8]| -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let (data, saved, writing) = match open(&path) {
            Ok(opened) => opened,
            Err(error) => return error.to_string(),
        };
        let told = saved.events(|_| Ok(()));
        end(data, writing);
        told.unwrap_err().to_string()
    };
    let mut damaged = sound.clone();
    let middle = sound.len() / 8192 * 4096;
    damaged[middle..].fill(0xab);
    for (name, bytes) in [
        ("damaged.sqlite", &damaged[..]),
        ("cut.sqlite", &sound[..middle]),
        ("stump.sqlite", &sound[..200]),
    ] {
        let told = read(name, bytes);
        assert!(told.contains("it is damaged ("), "{name}: {told}");
        assert!(told.contains("put a copy in its place"), "{told}");
    }
}

#[tokio::test]
async fn a_file_that_was_hardly_begun_is_made_anew() {
    let (folder, path) = place();
    std::fs::write(&path, "").unwrap();
    let begun = folder.path().join("begun.sqlite");
    Connection::open(&begun)
        .unwrap()
        .pragma_update(None, "application_id", sqlite::DATA)
        .unwrap();
    for path in [path, begun] {
        let (data, _, writing) = open(&path).unwrap();
        write_all(&data, [event("acme", 1)]).await;
        end(data, writing);
        let (data, saved, writing) = open(&path).unwrap();
        assert_eq!(seqs(&saved), [1]);
        end(data, writing);
    }
}

/// As version 1 wrote it.
const VERSION_1: &str = "
PRAGMA application_id = 1986880513;
CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE companies (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE);
CREATE TABLE forgotten (company INTEGER PRIMARY KEY);
CREATE TABLE registrations (company INTEGER NOT NULL, id INTEGER NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY (company, id)) WITHOUT ROWID;
CREATE TABLE campaigns (company INTEGER NOT NULL, id INTEGER NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY (company, id)) WITHOUT ROWID;
CREATE TABLE routes (company INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE events (seq INTEGER PRIMARY KEY, company INTEGER NOT NULL, json TEXT NOT NULL);
CREATE INDEX events_by_company ON events (company);
CREATE TABLE attempts (seq INTEGER NOT NULL, step INTEGER NOT NULL, registration INTEGER NOT NULL,
  attempt INTEGER NOT NULL, at_ns INTEGER NOT NULL, state TEXT NOT NULL, retry_ns INTEGER, status INTEGER,
  answer TEXT, error TEXT, detail TEXT, PRIMARY KEY (seq, step, registration, attempt)) WITHOUT ROWID;
CREATE TABLE unmatched (seq INTEGER NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (seq, step)) WITHOUT ROWID;
INSERT INTO numbers VALUES ('seq', 8), ('registration', 4), ('clock', 99);
INSERT INTO companies (key) VALUES ('acme');
INSERT INTO registrations VALUES (1, 4, '{}');
INSERT INTO events VALUES (7, 1, '{\"event_id\":\"e-7\"}');
INSERT INTO attempts VALUES (7, 0, 4, 1, 50, 'failed', NULL, 404, 'no', NULL, NULL);
PRAGMA user_version = 1;
";

#[tokio::test]
async fn a_file_of_version_1_goes_on() {
    let (_folder, path) = place();
    Connection::open(&path)
        .unwrap()
        .execute_batch(VERSION_1)
        .unwrap();
    let (data, saved, writing) = open(&path).unwrap();
    assert_eq!((saved.highest.seq, saved.clock), (8, Some(99)));
    assert_eq!(saved.companies[0].registrations, [(4, "{}".to_owned())]);
    write_all(&data, [attempt(7, 1, 4, 1)]).await;
    let read = events(&saved);
    assert_eq!(read.len(), 1);
    let of = |index: usize| {
        let attempt = &read[0].attempts[index];
        (attempt.state, attempt.status, attempt.latency_us)
    };
    assert_eq!(of(0), (State::Failed, Some(404), 0));
    assert_eq!(of(1), (State::Accepted, Some(204), 812));
    end(data, writing);
    // A file that has come this way is as a new one.
    let (_elsewhere, fresh) = place();
    let (data, saved, writing) = open(&fresh).unwrap();
    drop(saved);
    end(data, writing);
    let columns = "SELECT group_concat(m.name || '.' || p.name || p.type || p.\"notnull\" || p.pk) \
                   FROM sqlite_schema m, pragma_table_info(m.name) p ORDER BY m.name, p.cid";
    let shape = |path: &Path| -> String {
        let connection = open_to_read(path).unwrap();
        connection.query_row(columns, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(shape(&path), shape(&fresh));
    assert_eq!(count(&path, "PRAGMA user_version"), 3);
    assert_eq!(
        count(
            &path,
            "SELECT count(*) FROM deliveries WHERE company = 'acme'"
        ),
        2
    );
}

#[tokio::test]
async fn an_event_that_is_not_understood_is_named() {
    let (_folder, path) = place();
    let (data, _, writing) = open(&path).unwrap();
    write_all(&data, [event("acme", 6)]).await;
    end(data, writing);
    let (data, saved, writing) = open(&path).unwrap();
    let told = saved
        .events(|_| Err("no such outcome".to_owned()))
        .unwrap_err();
    assert!(
        told.to_string().ends_with("event 6: no such outcome"),
        "{told}"
    );
    end(data, writing);
}
