// An Express app. Arguments: port, log file.
const fs = require("node:fs");
const express = require("express");

const [port, log] = process.argv.slice(2);
const app = express();
app.use(express.text({ type: "*/*", limit: "1mb" }));
app.post("/vibes/callbacks", (request, response) => {
  JSON.parse(request.body);
  fs.appendFileSync(log, request.body + "\n");
  response.send("thanks");
});
app.listen(Number(port), "127.0.0.1");
