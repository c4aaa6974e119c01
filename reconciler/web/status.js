"use strict";
const PAUSE = 3000, PATIENCE = 10000;
let tag = "", shown = null, answered = 0, drawn = "";

// --- building: values only ever become text -------------------------------------------------------------------------

function el(name, mark, ...children) {
  const made = document.createElement(name);
  if (mark) made.className = mark;
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== "") made.append(child);
  }
  return made;
}
const badge = (text, mood) => el("span", "badge " + mood, text);
const short = (commit) => (commit || "").slice(0, 12);
const few = (names, most) => names.slice(0, most).join(", ") + (names.length > most ? " and " + (names.length - most) + " more" : "");
const counted = (n, one, many) => n + " " + (n === 1 ? one : many || one + "s");

function ago(seconds) {
  if (seconds < 90) return Math.max(0, Math.round(seconds)) + " s";
  if (seconds < 5400) return Math.round(seconds / 60) + " min";
  if (seconds < 129600) return Math.round(seconds / 3600) + " h";
  return Math.round(seconds / 86400) + " d";
}
function since(moment, before, after) {
  const made = el("span", "when");
  made.dataset.since = moment;
  made.dataset.before = before || "";
  made.dataset.after = after || "";
  const parsed = new Date(moment);
  if (!isNaN(parsed)) made.title = parsed.toLocaleString();
  tell(made);
  return made;
}
function tell(made) {
  const seconds = (Date.now() - new Date(made.dataset.since)) / 1000;
  made.textContent = isNaN(seconds) ? "" : made.dataset.before + ago(seconds) + made.dataset.after;
}
function section(title, note, ...rows) {
  if (!rows.flat().length) return null;
  return el("section", "", el("h2", "", title, note ? el("small", "", " " + note) : null), el("div", "card", ...rows));
}
function differences(rows) {
  if (!rows.length) return null;
  const head = el("tr", "", el("th", "", "field"), el("th", "", "should be"), el("th", "", "is"));
  const body = rows.map((d) => el("tr", "", el("td", "mono", d.field), el("td", "mono should", d.desired), el("td", "mono is", d.actual)));
  return el("table", "differences", el("thead", "", head), el("tbody", "", ...body));
}

// --- one node --------------------------------------------------------------------------------------------------------

const GOOD = { Ready: true, Reconciling: false, Stalled: false, Drifted: false, Suspended: false, Testing: false, SourceReady: true };
const MILD = new Set(["Reconciling", "Suspended", "Testing"]);
const RESULTS = { done: "good", failed: "bad", "rolled-back": "bad", unknown: "bad", skipped: "mild" };

function moodOf(condition) {
  if (condition.reason === "Unknown") return "bad";
  if (condition.status === GOOD[condition.type]) return condition.status ? "good" : "";
  return MILD.has(condition.type) ? "mild" : "bad";
}

function node(doc) {
  const ready = (doc.conditions || []).find((c) => c.type === "Ready");
  document.title = doc.host + (ready ? (ready.status ? ": ready" : ": " + ready.reason) : "");
  setText("where", doc.site ? "site " + doc.site : "reconciler");
  setText("name", doc.host);
  const waits = doc.state === "waiting";
  setBadge(!ready ? "no report yet" : ready.status ? "ready" : ready.reason, !ready ? "" : ready.status ? "good" : waits ? "mild" : "bad");
  const headline = ready ? ready.message || ready.reason : "The first pass of this daemon has not ended yet.";
  setText("headline", headline);
  const chips = [];
  if (doc.revision && doc.revision.commit) {
    const r = doc.revision;
    chips.push(el("li", "", el("span", "mono", short(r.commit)), " " + r.subject, r.author ? el("span", "soft", " · " + r.author) : null));
  }
  if (doc.revision && doc.revision.testing) chips.push(el("li", "mild", "tries " + doc.revision.testing));
  if (doc.containers) chips.push(el("li", "", counted(doc.containers, "container")));
  if (doc.at) chips.push(el("li", "", since(doc.at, "last news ", " ago"), " (" + doc.trigger + ", " + doc.seconds.toFixed(1) + " s)"));
  for (const f of doc.in_flight || []) chips.push(el("li", "mild", f.text + " ", since(f.since, "", "")));
  chips.push(...agreed(doc.fleet));
  if (doc.mode === "report") chips.push(el("li", "mild", "only reports, changes nothing"));
  document.getElementById("chips").replaceChildren(...chips);

  const parts = [];
  if (doc.failure) parts.push(notice("The last pass failed: " + doc.failure.reason, doc.failure.message));
  if (doc.refusal) {
    parts.push(notice("Commit " + short(doc.refusal.commit) + " was refused: " + doc.refusal.reason, doc.refusal.message,
      ...doc.refusal.problems.map((p) => el("p", "mono", p))));
  }
  if (doc.source && !doc.source.ok) parts.push(notice("The repository cannot be read: " + doc.source.reason, doc.source.message));
  if (doc.suspended) parts.push(notice("Suspended: nothing is changed", doc.suspended, "mild"));
  if (doc.gave_way) parts.push(notice("Another tool manages these containers: nothing is changed", doc.gave_way));
  if (doc.fleet && doc.fleet.fault) parts.push(notice("etcd does not answer: nothing begins here that other hosts have to agree to", doc.fleet.fault));
  if (doc.fleet && doc.fleet.halt) parts.push(notice("The rollout is halted", doc.fleet.halt, "mild"));
  if (doc.window) parts.push(notice("Changes wait", doc.window, "mild"));
  if (doc.cause) {
    parts.push(section("Because of it", doc.cause.item, doc.cause.because.map((t) => el("div", "item text", t))));
    parts.push(section("Wrong besides", "", doc.cause.others.map((t) => el("div", "item text", t))));
  }
  parts.push(section("Conditions", "", (doc.conditions || []).map((c) => el("div", "row", el("span", "", c.type),
    el("span", "text", badge(c.reason === "Unknown" ? "unknown" : c.status ? "yes" : "no", moodOf(c)), " " + c.reason, c.message ? el("span", "soft", " " + c.message) : null),
    since(c.since, "for ")))));
  if (doc.plan) parts.push(...plan(doc));
  parts.push(section("Warnings", "", (doc.warnings || []).map((w) => el("div", "item text", w))));
  parts.push(section("History", doc.history.length ? "newest first" : "", doc.history.map(entry)));
  return parts;
}
function agreed(fleet) {
  if (!fleet) return [];
  const lent = fleet.lent ? el("li", "mild", "lent: " + fleet.lent) : null;
  const holds = fleet.holds.length ? el("li", fleet.lent ? "" : "mild", "holds places: " + fleet.holds.join(", ")) : null;
  return [fleet.rolling ? el("li", "", "rolling out ", el("span", "mono", short(fleet.rolling))) : null, lent, holds].filter(Boolean);
}
function notice(title, text, ...more) {
  const mild = more[0] === "mild";
  return el("div", "card notice" + (mild ? " mild" : ""), el("b", "", title), el("span", "", text), ...(mild ? [] : more));
}
function plan(doc) {
  const why = (target) => doc.explained[target] ? el("p", "", target + ": " + doc.explained[target]) : null;
  const drift = doc.plan.held.filter((h) => h.drift).map((h) => held(h, why));
  const healed = doc.plan.actions.filter((a) => a.drift).map((a) => action(a, why));
  const rest = doc.plan.held.filter((h) => !h.drift).map((h) => held(h, () => null));
  const changes = doc.plan.actions.filter((a) => !a.drift).map((a) => action(a, () => null));
  const left = doc.plan.leftovers.map((name) => el("div", "item mono", name));
  return [
    section("Drift", "differs, and is left as it is", drift),
    section("Drift put right", "by the last pass", healed),
    section("Plan", doc.plan.summary + (doc.plan.more ? ", " + doc.plan.more + " more" : ""), changes),
    section("Held back", "and why", rest),
    section("Volumes nothing uses", "never removed", left),
  ];
}
function action(a, why) {
  const head = el("div", "head", el("span", "mono", a.line), ...a.risks.map((r) => badge(r, "mild")), a.result ? badge(a.result, RESULTS[a.result] || "") : badge("to do", ""));
  const told = a.result && a.result !== "done" ? el("p", "", [a.reason, a.message].filter(Boolean).join(": ")) : null;
  return el("div", "item", head, told, why(a.target), differences(a.differences));
}
function held(h, why) {
  const head = el("div", "head", el("span", "mono", h.target), badge(h.reason, h.drift ? "bad" : "mild"));
  return el("div", "item", head, el("p", "", h.message), why(h.target), differences(h.differences));
}
function entry(e) {
  const done = e.actions.filter((a) => a.result === "done").length;
  const failed = e.actions.filter((a) => ["failed", "rolled-back", "unknown"].includes(a.result)).length;
  const drift = e.actions.length && e.actions.every((a) => a.drift);
  const words = [done ? done + " done" : "", failed ? failed + " failed" : "", drift ? "drift" : ""].filter(Boolean).join(", ");
  const bad = failed || e.failure || e.refused;
  const what = e.refused ? "refused " + short(e.refused.commit) : e.subject || short(e.revision);
  const head = el("summary", "", since(e.at, "", " ago"), el("span", "what", what, e.author ? el("span", "soft", " · " + e.author) : null),
    badge(e.refused ? "refused" : e.failure ? "failed" : words || "nothing done", bad ? "bad" : "good"));
  const lines = e.actions.map((a) => el("p", "mono", a.line, a.result === "done" ? null : el("span", "is", "  " + a.result + ": " + a.message + " [" + a.reason + "]")));
  if (e.failure) lines.unshift(el("p", "is", e.failure.message + " [" + e.failure.reason + "]"));
  if (e.refused) lines.unshift(el("p", "is", e.refused.message + " [" + e.refused.reason + "]"));
  if (e.cause) lines.unshift(el("p", "is", e.cause));
  if (e.again) lines.unshift(el("p", "soft", "again, " + e.again + (e.again === 1 ? " time" : " times") + " since, the last ", since(e.last, "", " ago")));
  for (const found of e.happened || []) lines.push(el("p", "", found.target + ": " + found.text));
  for (const target in e.explained) lines.push(el("p", "", target + ": " + e.explained[target]));
  const whole = el("p", "soft", el("span", "mono", short(e.revision)), " · " + e.trigger + " · " + e.seconds + " s" + (e.testing ? " · " + e.testing : ""));
  const made = el("details", "item", head, el("div", "inside", whole, ...lines));
  made.dataset.key = e.at + e.revision;
  return made;
}

// --- a fleet ---------------------------------------------------------------------------------------------------------

const MOODS = { converged: "good", failed: "bad", waiting: "mild", unknown: "none" };

function fleet(doc) {
  document.title = doc.site + ": " + doc.summary;
  setText("where", "fleet of the site");
  setText("name", doc.site || "…");
  setBadge(doc.summary || "no commit yet", MOODS[doc.state] === "none" ? "" : MOODS[doc.state] || "");
  setText("headline", [short(doc.revision.commit), doc.revision.subject].filter(Boolean).join(" "));
  const chips = Object.entries(doc.counts).filter((c) => c[1]).map((c) => el("li", MOODS[c[0]], c[1] + " " + c[0]));
  if (doc.stale) chips.push(el("li", "mild", counted(doc.stale, "stale report")));
  if (doc.mode) chips.push(el("li", "", doc.mode));
  document.getElementById("chips").replaceChildren(...chips);
  const parts = doc.problem ? [notice(doc.problem.reason, doc.problem.message)] : [];
  parts.push(bar(doc.counts), ...(doc.rollout ? agreement(doc.rollout) : []),
    filters("host or message", { state: Object.keys(MOODS), group: [...new Set(doc.hosts.map((h) => h.group))].sort() }));
  const rows = doc.hosts.map((h) => {
    const made = el("div", "row host", el("span", "mono", h.host),
      el("span", "text", badge(h.state, MOODS[h.state] === "none" ? "" : MOODS[h.state]), h.stale ? [" ", badge("stale", "mild")] : null,
        h.program ? [" ", badge(h.program, "mild")] : null, " ",
        h.commit ? el("span", "mono soft", short(h.commit)) : null, " ", el("span", "soft", h.message)),
      h.at ? since(h.at, "", " ago") : el("span", "", ""));
    made.dataset.text = (h.host + " " + h.group + " " + h.message + " " + h.program).toLowerCase();
    made.dataset.state = h.state;
    made.dataset.group = h.group;
    return made;
  });
  parts.push(section("Hosts", doc.hosts.length + " in the inventory", rows));
  if (doc.reviews) parts.push(...reviews(doc.reviews));
  return parts;
}

// --- merge requests that the reporter reviews ------------------------------------------------------------------------

const VERDICTS = { valid: "good", invalid: "bad", failed: "bad", waiting: "mild" };

function reviews(found) {
  const left = found.left_out, words = [counted(found.requests.length + left.unshown, "open one", "open ones")];
  if (left.unshown) words.push(left.unshown + " not shown");
  if (left.more) words.push("the forge has more, which are not looked at");
  if (left.forks) words.push(counted(left.forks, "fork's is", "of forks are") + " left alone");
  const problem = found.problem ? notice("Merge requests cannot be reviewed: " + found.problem.reason, found.problem.message) : null;
  const rows = found.requests.map(reviewed);
  const none = rows.length || !found.at ? null : el("div", "row", el("span", "", "none"), el("span", "text soft", "nothing is open"), since(found.at, "", " ago"));
  return [problem, section("Merge requests", words.join(", "), none ? [none] : rows)];
}
function reviewed(r) {
  const number = el(/^https?:/.test(r.url) ? "a" : "span", "mono", "!" + r.iid);
  if (number.tagName === "A") { number.href = r.url; number.rel = "noreferrer"; }
  const marks = [r.draft ? "draft" : "", r.fork ? "fork" : ""].filter(Boolean).map((word) => [" ", badge(word, "")]);
  const told = [r.text, r.reason ? "[" + r.reason + "]" : ""].filter(Boolean).join(" ");
  return el("div", "row review", number,
    el("span", "text", badge(r.state, VERDICTS[r.state] || ""), ...marks.flat(), " ", r.title, " ", el("span", "soft", [r.author, short(r.head)].filter(Boolean).join(" · ")),
      told ? el("span", "soft said", told) : null, r.missing ? el("span", "soft said", r.missing) : null),
    r.at ? since(r.at, "", " ago") : el("span", "", ""));
}
function bar(counts) {
  const total = Object.values(counts).reduce((a, b) => a + b, 0) || 1;
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", "0 0 100 1");
  made.setAttribute("preserveAspectRatio", "none");
  let at = 0;
  for (const state of Object.keys(MOODS)) {
    const part = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const width = 100 * (counts[state] || 0) / total;
    for (const [name, value] of [["x", at], ["y", 0], ["width", width], ["height", 1], ["class", "fill-" + MOODS[state]]]) part.setAttribute(name, value);
    at += width;
    made.append(part);
  }
  const around = el("div", "bar", made);
  around.setAttribute("aria-hidden", "true");
  return around;
}
// What hosts are searched for by a text, and by one of the words of each list (name → words).
function filters(hint, lists) {
  const search = el("input");
  search.type = "search"; search.id = "search"; search.placeholder = hint; search.setAttribute("aria-label", "search");
  const option = (value, text) => { const o = el("option", "", text); o.value = value; return o; };
  const selects = Object.entries(lists).map(([name, words]) => {
    const made = el("select", "", option("", "every " + name), ...words.map((w) => option(w, w)));
    made.id = name; made.setAttribute("aria-label", name);
    return made;
  });
  const around = el("form", "filters", search, ...selects);
  around.addEventListener("input", filter);
  around.addEventListener("submit", (event) => event.preventDefault());
  return around;
}
const asked = (id) => (document.getElementById(id) || {}).value || "";
function filter() {
  if (shown.kind === "rollout") return narrow(shown);
  const text = asked("search").toLowerCase(), state = asked("state"), group = asked("group");
  for (const row of document.querySelectorAll(".host")) {
    row.hidden = !((!text || row.dataset.text.includes(text)) && (!state || row.dataset.state === state) && (!group || row.dataset.group === group));
  }
}

// --- a link to another page of the same server
function also(href, text) {
  const place = document.getElementById("also");
  if (!href) return place.replaceChildren();
  const link = el("a", "", text);
  link.href = href;
  place.replaceChildren(" · ", link);
}

// --- staying up to date ----------------------------------------------------------------------------------------------

function setText(id, text) { document.getElementById(id).textContent = text; }
function setBadge(text, mood) {
  const made = document.getElementById("verdict");
  if (made.textContent !== text) made.textContent = text;  // a screen reader says it when it changes, and only then
  made.className = "badge " + mood;
}
function draw() {
  const content = document.getElementById("content");
  const open = new Set([...content.querySelectorAll("details[open]")].map((d) => d.dataset.key));
  const kept = ["search", "state", "group", "wave"].map((id) => [id, asked(id)]);
  const focus = document.activeElement && document.activeElement.id;
  const key = document.activeElement && document.activeElement.closest("details") && document.activeElement.closest("details").dataset.key;
  content.replaceChildren(...({ fleet, rollout }[shown.kind] || node)(shown).filter(Boolean));
  for (const made of content.querySelectorAll("details")) {
    made.open = open.has(made.dataset.key);
    if (key && made.dataset.key === key) made.querySelector("summary").focus();
  }
  for (const [id, value] of kept) if (value && document.getElementById(id)) document.getElementById(id).value = value;
  if (focus && content.querySelector("#" + CSS.escape(focus))) document.getElementById(focus).focus();
  also(shown.fleet || shown.rollout ? "fleet" : "", shown.rollout ? "who waits for whom" : "the whole fleet");
  filter();
}
function busy(since) {
  const passed = (Date.now() - Date.parse(since)) / 1000;
  return passed > 10 ? "a pass is under way for " + ago(passed) + ": what is shown is from before" : "a pass is under way";
}
function liveness() {
  const lost = Date.now() - answered > PATIENCE;
  document.getElementById("live").className = "dot " + (lost ? "off" : shown && shown.working ? "busy" : "on");
  setText("liveness", lost ? (answered ? "no answer for " + ago((Date.now() - answered) / 1000) + ": this may be old" : "no answer yet")
    : shown && shown.working ? busy(shown.working_since) : "up to date");
  for (const made of document.querySelectorAll("[data-since]")) tell(made);
}
async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(document.body.dataset.source, { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {}, signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 200) {
      shown = await answer.json();
      tag = answer.headers.get("ETag") || "";
      const now = JSON.stringify({ ...shown, working: 0, working_since: 0 });
      if (now !== drawn) { drawn = now; draw(); }
    }
    if (answer.status === 200 || answer.status === 304) answered = Date.now();
  } catch (error) { /* shown by liveness() */ }
  liveness();
}
document.addEventListener("visibilitychange", look);
setInterval(look, PAUSE);
setInterval(liveness, 1000);
look();
