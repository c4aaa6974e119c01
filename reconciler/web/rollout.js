"use strict";
// A rollout: how far its waves are, who holds which places, what waits for whom. Drawn with what status.js has.
const TURNS = { done: "good", open: "mild", waits: "" };
const STANDS = { failed: "bad", holds: "mild", absent: "bad", waits: "", excused: "", proved: "good" };
const MANY = { holds: "hold places", waits: "wait" };
const MOST = 200;  // rows that are drawn at once: more are no use to anybody, and slow

function rollout(doc) {
  const counts = {};
  for (const h of doc.hosts) counts[h.state] = (counts[h.state] || 0) + 1;
  const total = doc.hosts.length, proved = counts.proved || 0;
  const over = total && proved === total;
  document.title = (doc.site || "fleet") + ": " + (doc.halt ? "halted" : proved + "/" + total + " proved");
  setText("where", "rollout of the site");
  setText("name", doc.site || "…");
  setBadge(doc.problem ? "unknown" : !doc.rolling ? "nothing is rolled out" : doc.halt ? "halted" : over ? "done" : proved + " of " + total + " proved",
    doc.problem || doc.halt ? "bad" : over ? "good" : doc.rolling ? "mild" : "");
  setText("headline", !doc.rolling ? "" : "rolling out " + short(doc.rolling)
    + (doc.accepted && doc.accepted !== doc.rolling ? "; this host has accepted " + short(doc.accepted) + ", so its waves are shown as that commit has them" : ""));
  const chips = Object.keys(STANDS).filter((s) => counts[s]).map((s) => el("li", STANDS[s], counts[s] + " " + (counts[s] > 1 && MANY[s] || s)));
  document.getElementById("chips").replaceChildren(...chips);
  const problem = doc.problem ? notice("etcd does not answer: what is shown is from before", doc.problem) : null;
  return [problem, ...agreement(doc), ...waiting(doc.hosts),
    filters("host or what it waits for", { state: Object.keys(STANDS), wave: doc.waves.map((w) => w.name) }), found()];
}

// Also shown above the hosts of a reporter's page.
function agreement(doc) {
  const parts = [];
  if (doc.problem && doc.kind !== "rollout") parts.push(notice("etcd does not answer", doc.problem));
  if (doc.halt) {
    const when = doc.halt.at ? el("p", "soft", since(doc.halt.at, "", " ago")) : null;
    parts.push(notice("Halted by " + doc.halt.by + ": nothing more of " + short(doc.rolling) + " begins anywhere", doc.halt.why, when));
  } else if (doc.failed && doc.failed.length) parts.push(notice("Failed, which is tolerated", doc.failed.join(", "), "mild"));
  if (doc.resumed) parts.push(notice("A halt was lifted", doc.resumed, "mild"));
  parts.push(section("Waves", "one after the other", (doc.waves || []).map(wave)));
  const held = (doc.budgets || []).filter((b) => b.holders.length);
  parts.push(section("Places that are held", "given back when a host is proved", held.map(budget)));
  const runs = (doc.jobs || []).map((j) => el("div", "row", el("span", "mono", j.name),
    el("span", "text", j.state === "failed" ? "failed on " : "runs on ", el("span", "mono", j.host), j.message ? el("span", "soft said", j.message) : null),
    badge(j.state, j.state === "failed" ? "bad" : "mild")));
  parts.push(section("Jobs of the cluster", "run once; what comes after them waits", runs));
  const said = [["excused", "is not waited for"], ["released", "its places were given back by hand"]];
  const told = said.flatMap(([kind, what]) => Object.entries(doc[kind] || {}).map(([host, one]) => el("div", "row",
    el("span", "mono", host), el("span", "text", what + ": ", one.why, el("span", "soft", " · " + one.by)), since(one.at, "", " ago"))));
  parts.push(section("What operators said", "", told));
  return parts;
}
function wave(w) {
  const rest = w.hosts - w.proved - w.at_it - w.failed;
  const size = w.at_once === 1 ? "one by one" : w.at_once + " at once";
  const words = [w.proved + " of " + w.hosts + " proved", w.at_it ? w.at_it + " at it" : "", w.failed ? w.failed + " failed" : "", size + (w.in_order ? ", in order" : "")];
  return el("div", "row wave", el("span", "", w.name),
    el("span", "text", bar({ converged: w.proved, waiting: w.at_it, failed: w.failed, unknown: Math.max(0, rest) }), el("span", "soft", words.filter(Boolean).join(" · "))),
    badge(w.state, TURNS[w.state] || ""));
}
function budget(b) {
  const full = b.at_once !== null && b.holders.length >= b.at_once;
  const count = b.holders.length + (b.at_once === null ? "" : " of " + b.at_once);
  return el("div", "row", el("span", "mono", b.name === "wave" ? "the open wave" : b.name),
    el("span", "text mono", few(b.holders, 40)), badge(count, full ? "mild" : ""));
}
function waiting(hosts) {
  const groups = new Map();
  for (const h of hosts) {
    if (h.state !== "waits") continue;
    if (!groups.has(h.text)) groups.set(h.text, []);
    groups.get(h.text).push(h.host);
  }
  const rows = [...groups].sort((a, b) => b[1].length - a[1].length).slice(0, 30).map(([text, names]) => el("div", "row",
    el("span", "", counted(names.length, "host")), el("span", "text", text, el("span", "soft said mono", few(names, 12))), el("span", "", "")));
  return [section("What waits for whom", "", rows)];
}

// --- its hosts, as many as are asked for ----------------------------------------------------------------------------

function found() {
  const made = el("section", "", el("h2", "", "Hosts", el("small", "", "")), el("div", "card", ""));
  made.id = "hosts";
  return made;
}
function narrow(doc) {
  const text = asked("search").toLowerCase(), state = asked("state"), of = asked("wave");
  const rows = doc.hosts.filter((h) => (!state || h.state === state) && (!of || h.wave === of)
    && (!text || (h.host + " " + h.text + " " + h.holds.join(" ")).toLowerCase().includes(text)));
  const place = document.getElementById("hosts");
  if (!place) return;
  const drawn = rows.slice(0, MOST).map((h) => el("div", "row host", el("span", "mono", h.host),
    el("span", "text", badge(h.state, STANDS[h.state] || ""), " ", h.holds.length ? el("span", "mono", h.holds.join(", ") + " · ") : null, el("span", "soft", h.text)),
    el("span", "which", h.wave)));
  if (rows.length > MOST) drawn.push(el("div", "row", el("span", "", ""), el("span", "text soft", "and " + (rows.length - MOST) + " more: narrow the search"), el("span", "", "")));
  if (!rows.length) drawn.push(el("div", "row", el("span", "", "none"), el("span", "text soft", "no host matches"), el("span", "", "")));
  place.querySelector("small").textContent = " " + rows.length + " of " + doc.hosts.length;
  place.querySelector(".card").replaceChildren(...drawn);
}
