//! How many events and attempts a second `serve --data` writes, each on disk. Run it with `cargo bench --bench data`.
//!
//! An event has four callbacks with one attempt each, which end some hundred events later; 50 companies take
//! turns. `full` also deletes as many old events as there are new ones, as a server does that keeps so many rows.

#![allow(clippy::unwrap_used, reason = "a measurement that went wrong is none")]

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use tokio::runtime::{Builder, Runtime};
use vibes_mock::serve::data::{self, Change, Data, State, Writing, Written};

/// Events in one pass.
const EVENTS: u64 = 10_240;

/// Events that come while the last ones are waited for.
const AT_ONCE: u64 = 256;

/// Events that are kept where old ones are deleted.
const KEPT: u64 = 2_560;

fn main() {
    divan::main();
}

fn event(seq: u64) -> Change {
    Change::Event {
        company: Arc::from(format!("company-{}", seq % 50)),
        seq,
        json: "x".repeat(700),
    }
}

fn attempt(seq: u64, step: u16) -> Change {
    Change::Attempt {
        seq,
        step,
        registration: 7,
        attempt: 1,
        at: 1_700_000_000_000_000_000 + seq,
        state: State::Accepted,
        retry_at: None,
        status: Some(200),
        failure: None,
        answer: Some(Box::from("")),
        latency_us: 812,
        destinations: 1,
    }
}

/// A new file, open, and what waits for it.
fn opened() -> (tempfile::TempDir, Data, Writing, Runtime) {
    let folder = tempfile::tempdir().unwrap();
    let (data, _, writing) = data::open(&folder.path().join("state.sqlite")).unwrap();
    (
        folder,
        data,
        writing,
        Builder::new_current_thread().build().unwrap(),
    )
}

async fn fill(data: &Data, evict: bool) {
    for first in (0..EVENTS).step_by(AT_ONCE as usize) {
        let mut written: Vec<Written> = Vec::new();
        for seq in first..first + AT_ONCE {
            written.push(data.write(event(seq)));
            let ended = (0..4).filter_map(|step| Some((seq.checked_sub(step * 400)?, step)));
            written.extend(ended.map(|(seq, step)| data.write(attempt(seq, step as u16))));
        }
        if let Some(old) = first.checked_sub(KEPT).filter(|_| evict) {
            written.push(data.write(Change::Evict {
                seqs: (old..old + AT_ONCE).collect(),
            }));
        }
        for written in written {
            written.await.unwrap();
        }
    }
}

fn write(bencher: Bencher<'_, '_>, evict: bool) {
    bencher
        .counter(ItemsCount::new(EVENTS * 5))
        .with_inputs(opened)
        .bench_local_values(|(folder, data, writing, runtime)| {
            runtime.block_on(fill(&data, evict));
            data.close();
            writing.join();
            folder
        });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn growing(bencher: Bencher<'_, '_>) {
    write(bencher, false);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn full(bencher: Bencher<'_, '_>) {
    write(bencher, true);
}

/// What a server that starts again reads.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn reading_back(bencher: Bencher<'_, '_>) {
    let (folder, data, writing, runtime) = opened();
    runtime.block_on(fill(&data, false));
    drop(data);
    writing.join();
    bencher
        .counter(ItemsCount::new(EVENTS * 5))
        .bench_local(|| {
            let (data, saved, writing) = data::open(&folder.path().join("state.sqlite")).unwrap();
            let mut attempts = 0;
            saved
                .events(|event| {
                    attempts += event.attempts.len();
                    Ok(())
                })
                .unwrap();
            drop((data, saved));
            writing.join();
            attempts
        });
}
