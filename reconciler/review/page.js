"use strict";
// Filters what is already on the page: nothing is fetched, nothing is built from text.
const form = document.querySelector("#filters");
if (form) {
  const search = form.elements.search, service = form.elements.service, risk = form.elements.risk;
  const items = [...document.querySelectorAll("[data-item]")];
  const count = document.querySelector("#count"), empty = document.querySelector("#empty");
  const total = items.filter((item) => item.dataset.item === "group").length;

  const matches = (item, words) => {
    if (service.value && !` ${item.dataset.services} `.includes(` ${service.value} `)) return false;
    if (risk.value && !` ${item.dataset.risks} `.includes(` ${risk.value} `)) return false;
    return words.every((word) => item.dataset.hosts.includes(word) || item.dataset.text.includes(word));
  };

  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, hosts = 0;
    for (const item of items) {
      item.hidden = !matches(item, words);
      if (!item.hidden && item.dataset.item === "group") { shown += 1; hosts += Number(item.dataset.count); }
    }
    for (const box of document.querySelectorAll("[data-box]"))
      box.hidden = ![...box.querySelectorAll("[data-item]")].some((item) => !item.hidden);
    const filtered = words.length || service.value || risk.value;
    count.textContent = filtered ? `${shown} of ${total} groups, ${hosts} ${hosts === 1 ? "host" : "hosts"}` : "";
    empty.hidden = items.some((item) => !item.hidden);
    const state = new URLSearchParams();
    for (const field of [search, service, risk]) if (field.value) state.set(field.name, field.value);
    history.replaceState(null, "", state.size ? `#${state}` : location.pathname + location.search);
  };

  for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
    if (["search", "service", "risk"].includes(name)) form.elements[name].value = value;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select");
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); search.select(); }
    if (event.key === "Escape" && typing) { form.reset(); event.target.blur(); }
  });
  const folds = document.querySelector("#folds");
  folds.addEventListener("click", () => {
    const open = folds.getAttribute("aria-pressed") !== "true";
    folds.setAttribute("aria-pressed", String(open));
    folds.textContent = open ? "Fold all" : "Open all";
    for (const fold of document.querySelectorAll("details.fold")) fold.open = open;
  });
  form.hidden = false;
  apply();
}
