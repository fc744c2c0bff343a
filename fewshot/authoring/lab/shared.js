"use strict";
const $ = (id) => document.getElementById(id);
const token = location.hash.slice(1);

// Everything shown goes in as text, never as markup: what a model says is not to be trusted.
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value); else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

async function call(name, body = {}) {
  let reply;
  try {
    reply = await fetch("/api/" + name, { method: "POST", body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", Authorization: "Bearer " + token } });
  } catch { throw new Error("nothing answers; is the command that printed this address still running?"); }
  const value = await reply.json();
  if (!reply.ok) throw new Error(value.error);
  return value;
}

const say = (text, bad = false) => { $("status").textContent = text; $("status").classList.toggle("error", bad); };

const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const written = (value) => value === null ? "—" : typeof value === "string" ? value : JSON.stringify(value);

function bars(shares) {
  const made = el("div", { class: "bars" });
  for (const [label, share] of Object.entries(shares).sort((a, b) => b[1] - a[1])) {
    const fill = el("i");
    fill.style.width = (100 * share).toFixed(1) + "%";
    made.append(el("span", {}, label), el("span", { class: "track", "aria-hidden": "true" }, fill), el("span", {}, (100 * share).toFixed(1) + "%"));
  }
  return made;
}

// The pages of one server share its token, which stands behind the # and is never sent.
for (const link of document.querySelectorAll("nav a")) link.hash = token;
