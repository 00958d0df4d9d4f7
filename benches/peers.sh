#!/usr/bin/env bash
# How many requests a second vibes-mock sends, beside oha and wrk: same receiver (nginx, empty 200), same
# body size, 32 connections, interleaved rounds, medians. Compare the ratios only: machines differ.
#
#   benches/peers.sh [ROUNDS] [SECONDS] > peers.md      (JSON goes to target/peers/peers.json)
#
# Needs nginx and wrk (Debian: nginx-light wrk) and python3; builds oha under target/ if it is not on the path.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${2:-5} port=${PORT:-18499} connections=32
export PATH="$PATH:/usr/sbin:$PWD/target/peers-tools/bin"
command -v oha >/dev/null || cargo install --quiet --locked --root target/peers-tools oha
for tool in nginx wrk oha python3; do
  command -v "$tool" >/dev/null || { echo "peers.sh: $tool is not there" >&2; exit 2; }
done
cargo build --release --quiet
mock=${CARGO_TARGET_DIR:-target}/release/vibes-mock
work=$PWD/target/peers
rm -rf "$work" && mkdir -p "$work"

cat > "$work/nginx.conf" <<CONF
worker_processes 1;
pid $work/nginx.pid;
error_log $work/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $work/b; proxy_temp_path $work/p; fastcgi_temp_path $work/f;
  uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  server { listen 127.0.0.1:$port; location / { return 200; } }
}
CONF
nginx -c "$work/nginx.conf"
trap 'kill "$(cat "$work/nginx.pid")"' EXIT
url=http://127.0.0.1:$port/vibes/callbacks

# As many journeys as take longer than the time there is; the run is then interrupted.
cat > "$work/load.yaml" <<YAML
scenario: Load
journeys:
  delivered: {message: {type: sms, text: "Hi Bob, your order is out for delivery."}}
events:
  - event_type: day_of_delivery
    count: 10000000
    arrivals: {rate: 1000/s}
    event_data: {first_name: Bob, external_person_id: abcd12345, delivery_time: 5:00 PM}
    debug_data: {field: CUST_SYSTEM}
    journey: delivered
YAML
"$mock" plan "$work/load.yaml" --seed 1 --format jsonl 2>/dev/null | head -n 3 | tail -n 1 |
  sed 's/.*"body"://; s/}$//' > "$work/body.json" || true
python3 - "$work" <<'PY'
import sys
work = sys.argv[1]
body = open(f"{work}/body.json").read().strip()
fixed = body.replace("\\", "\\\\").replace("'", "\\'")
head = "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
open(f"{work}/fixed.lua", "w").write(head + f"wrk.body = '{fixed}'\n")
# The first id of the body is made anew for each request, as a callback's is.
at = body.index('":"') + 3
before, after = fixed[:at], fixed[at + 36:]
open(f"{work}/fresh.lua", "w").write(head + f"""
local before, after = '{before}', '{after}'
local random, format = math.random, string.format
request = function()
  local id = format('%08x-%04x-4%03x-a%03x-%06x%06x', random(0, 0xffffffff), random(0, 0xffff),
    random(0, 0xfff), random(0, 0xfff), random(0, 0xffffff), random(0, 0xffffff))
  return wrk.format(nil, nil, nil, before .. id .. after)
end
""")
PY

mock_rate() {
  timeout -s INT "$seconds" "$mock" run "$work/load.yaml" --seed 1 --speed max --to "$url" \
    --connections $connections --format json --quiet "$@" 2>/dev/null |
    python3 -c 'import json,sys; r=json.load(sys.stdin); assert not r["errors"], r; print(r["per_second"])'
}
oha_rate() {
  oha -z "${seconds}s" -c $connections --no-tui --output-format json -m POST -T application/json \
    -D "$work/body.json" "$url" 2>/dev/null |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["summary"]["requestsPerSec"])'
}
wrk_rate() { wrk -t1 -c$connections -d"${seconds}s" -s "$work/$1.lua" "$url" | awk '/Requests\/sec/ {print $2}'; }

for _ in $(seq "$rounds"); do
  echo "mock $(mock_rate)"
  echo "oha $(oha_rate)"
  echo "wrk_fresh $(wrk_rate fresh)"
  echo "wrk_fixed $(wrk_rate fixed)"
  rm -f "$work"/journal.sqlite*
  echo "mock_journal $(mock_rate --journal "$work/journal.sqlite")"
done > "$work/rates.txt"

python3 - "$work" "$rounds" "$seconds" <<'PY'
import json, statistics, sys
work, rounds, seconds = sys.argv[1:]
rates = {}
for line in open(f"{work}/rates.txt"):
    name, rate = line.split()
    rates.setdefault(name, []).append(float(rate))
median = {name: statistics.median(values) for name, values in rates.items()}
rows = [("oha", "oha", 1.15), ("wrk with fresh ids by Lua", "wrk_fresh", 1.0),
        ("wrk with a fixed body", "wrk_fixed", 0.9)]
result = {"rounds": int(rounds), "seconds": float(seconds), "rates": rates, "median": median,
          "ratio": {key: median["mock"] / median[key] for _, key, _ in rows}
          | {"journal": median["mock_journal"] / median["mock"]}}
json.dump(result, open(f"{work}/peers.json", "w"), indent=2)
print("| vibes-mock, fresh bodies, against | requests/s of the other | requests/s | ratio | goal |")
print("| --- | ---: | ---: | ---: | ---: |")
for label, key, goal in rows:
    print(f"| {label} | {median[key]:,.0f} | {median['mock']:,.0f} | {result['ratio'][key]:.2f} | {goal} |")
print(f"| itself without a journal, when it writes one | {median['mock']:,.0f} "
      f"| {median['mock_journal']:,.0f} | {result['ratio']['journal']:.2f} | 0.5 |")
PY
