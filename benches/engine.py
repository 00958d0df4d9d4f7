#!/usr/bin/env python3
"""Lag, memory, trigger and resume of vibes-mock on this machine, as Markdown and JSON.

    cargo build --release && python3 benches/engine.py [SOAK_SECONDS]

Needs nginx (Debian: nginx-light) and curl. With SOAK_SECONDS it also sends 20,000 callbacks a second for
that long and watches the memory that the process holds. Results go to target/engine/engine.json as well.
"""

import json, os, pathlib, signal, statistics, subprocess, sys, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOCK = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "vibes-mock"
WORK = ROOT / "target" / "engine"
PORT = int(os.environ.get("PORT", "18498"))
URL = f"http://127.0.0.1:{PORT}/vibes/callbacks"


def scenario(name, count, rate, handset="{median: 3s, p99: 60s}", more=""):
    path = WORK / f"{name}.yaml"
    path.write_text(f"""scenario: {name}
journeys:
  delivered:
    message: {{type: sms, text: "Hi Bob, your order is out for delivery."}}
    handset: {{after: {handset}}}
events:
  - event_type: day_of_delivery
    count: {count}
    arrivals: {{rate: {rate}/s}}
    event_data: {{first_name: Bob, external_person_id: abcd12345}}
    journey: delivered
{more}""")
    return str(path)


def memory(pid, key):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def run(args, seconds=None, every=None):
    """Runs to its end, or so long; gives the report, and the memory in MB: at last, and what it came by."""
    process = subprocess.Popen([MOCK, *args, "--format", "json", "--quiet"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    peak, series, began = 0.0, [], time.time()
    output = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()))
    reader.start()
    while process.poll() is None:
        try:
            peak = max(peak, memory(process.pid, "VmHWM"))
            if every and time.time() - began >= every * (len(series) + 1):
                series.append(round(memory(process.pid, "VmRSS"), 1))
        except (FileNotFoundError, ProcessLookupError):
            break
        if seconds and time.time() - began > seconds:
            process.send_signal(signal.SIGINT)
            seconds = None
        time.sleep(0.02)
    process.wait()
    reader.join()
    return json.loads(output[0]), peak, series


def timed(command, times):
    spans = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


def nginx():
    conf = WORK / "nginx.conf"
    temps = " ".join(f"{kind}_temp_path {WORK}/{kind};" for kind in
                     ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    conf.write_text(f"""worker_processes 1; daemon off; pid {WORK}/nginx.pid; error_log {WORK}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; {temps}
  server {{ listen 127.0.0.1:{PORT}; location / {{ return 200; }} }} }}""")
    env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin")
    server = subprocess.Popen(["nginx", "-c", conf], env=env)
    time.sleep(0.5)
    return server


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    soak = float(sys.argv[1]) if len(sys.argv) > 1 else 0
    server, result = nginx(), {}
    try:
        # 1,250 events a second are 5,000 callbacks a second, once the handset receipts have begun to come.
        paced = scenario("paced", 20000, 1250, handset="100ms")
        report, _, _ = run(["run", paced, "--to", URL, "--seed", "1"])
        result["lag_at_5000_per_second_ms"] = report["lag_ms"]
        waiting = scenario("waiting", 1000000, 500000, handset="1h",
                           more="destination: {callbacks_to_send: handset_dlr}\n")
        _, peak, _ = run(["run", waiting, "--to", URL, "--seed", "1"], seconds=6)
        result["million_pending_mb"] = round(peak, 1)
        many = scenario("many", 10000000, 10000, handset="3s")
        report, peak, _ = run(["run", many, "--to", URL, "--seed", "1", "--speed", "max"], seconds=20)
        result["ten_million_journeys_mb"] = {"peak": round(peak, 1), "callbacks_sent": report["callbacks"]}
        body = WORK / "body.json"
        shown = subprocess.run([MOCK, "catalog", "carrier.rejected", "--format", "json"],
                               stdout=subprocess.PIPE, check=True).stdout
        body.write_text(json.dumps(json.loads(shown)[0]["body"]))
        trigger = timed([MOCK, "trigger", "carrier.rejected", "--to", URL, "--quiet"], 50)
        curl = timed(["curl", "-s", "-o", os.devnull, "-H", "Content-Type: application/json",
                      "--data-binary", f"@{body}", URL], 50)
        result["trigger_ms"] = {"vibes-mock": round(trigger * 1000, 2), "curl": round(curl * 1000, 2),
                                "ratio": round(trigger / curl, 2)}
        journal = WORK / "resume.sqlite"
        for old in WORK.glob("resume.sqlite*"):
            old.unlink()
        journaled = scenario("journaled", 50000, 1000)
        args = ["run", journaled, "--to", URL, "--seed", "1", "--start", "2026-01-01T00:00:00Z", "--speed",
                "max", "--journal", str(journal), "--resume"]
        run(args)
        began = time.time()
        report, peak, _ = run(args)
        result["resume"] = {"callbacks_in_the_journal": report["callbacks"],
                            "seconds_to_find_it_done": round(time.time() - began, 2), "peak_mb": round(peak, 1),
                            "bytes": sum(file.stat().st_size for file in WORK.glob("resume.sqlite*"))}
        if soak:
            long = scenario("soak", 10000000, 5000, handset="5s")
            report, peak, series = run(["run", long, "--to", URL, "--seed", "1"], seconds=soak, every=10)
            result["soak"] = {"seconds": report["elapsed_s"], "per_second": report["per_second"],
                              "accepted": report["accepted"], "failed": report["failed"],
                              "lag_ms": report["lag_ms"], "peak_mb": round(peak, 1),
                              "rss_mb_every_10_s": series}
    finally:
        server.terminate()
        server.wait()
    (WORK / "engine.json").write_text(json.dumps(result, indent=2))
    print(json.dumps(result, indent=2))


main()
