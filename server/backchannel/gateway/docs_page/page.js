// The contract of an app, to read and to try. Everything is made from `docs/contract.json`.

/** An element. Properties that begin with `on` are listeners, others attributes; strings become text. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);

// Types in words

const nameOf = (schema) => schema.$ref?.slice("#/$defs/".length);

/** A type, its named parts as links. */
function typeOf(schema) {
  if (schema.$ref) return [h("a", { href: `#type-${nameOf(schema)}` }, h("code", {}, nameOf(schema)))];
  if (schema.anyOf) return schema.anyOf.flatMap((part, index) => (index ? [" or ", ...typeOf(part)] : typeOf(part)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  if (schema.prefixItems) return ["array of exactly (", ...joined(schema.prefixItems.map(typeOf)), ")"];
  if (schema.type === "array") return ["array of ", ...typeOf(schema.items ?? {})];
  if (schema.type === "object") return ["map of ", ...typeOf(schema.additionalProperties ?? {})];
  if (schema.type === undefined) return ["anything"];
  return [schema.format ? `${schema.type} (${schema.format})` : schema.type];
}

const joined = (parts) => parts.flatMap((part, index) => (index ? [", ", ...part] : part));

const BOUNDS = {
  minimum: "≥",
  exclusiveMinimum: ">",
  maximum: "≤",
  exclusiveMaximum: "<",
  multipleOf: "a multiple of",
  minLength: "characters ≥",
  maxLength: "characters ≤",
  minItems: "items ≥",
  maxItems: "items ≤",
  pattern: "matches",
};

/** What bounds a value. The bounds that every integer has are not told again. */
function boundsOf(schema) {
  const parts = [schema, ...(schema.anyOf ?? [])];
  const own = parts.flatMap((part) =>
    Object.entries(BOUNDS)
      .filter(([key]) => part[key] !== undefined && Math.abs(part[key]) !== Number.MAX_SAFE_INTEGER)
      .map(([key, words]) => `${words} ${part[key]}`),
  );
  return [...own, ...(schema.items ? boundsOf(schema.items).map((words) => `each ${words}`) : [])];
}

function fieldsOf(definition) {
  const properties = Object.entries(definition?.properties ?? {});
  if (properties.length === 0) return h("p", { class: "quiet" }, "No fields.");
  const rows = properties.map(([name, schema]) => {
    const required = definition.required?.includes(name);
    const without = schema.default === undefined ? "no" : `no, ${JSON.stringify(schema.default)}`;
    return h(
      "tr",
      {},
      h("td", {}, h("code", {}, name)),
      h("td", {}, ...typeOf(schema)),
      h("td", {}, required ? "yes" : without),
      h("td", {}, [schema.description, boundsOf(schema).join("; ")].filter(Boolean).join(" — ")),
    );
  });
  const head = ["field", "type", "required", "meaning"].map((text) => h("th", { scope: "col" }, text));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "Fields" },
    h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
  );
}

/** A value to begin with. */
function exampleOf(schema, definitions, depth = 0) {
  const resolved = schema.$ref ? definitions[nameOf(schema)] : schema;
  if (resolved.default !== undefined) return resolved.default;
  if (resolved.enum) return resolved.enum[0];
  if (resolved.anyOf) return exampleOf(resolved.anyOf[0], definitions, depth);
  if (resolved.type === "integer" || resolved.type === "number") return Math.max(resolved.minimum ?? 0, 0);
  if (resolved.type === "boolean") return false;
  if (resolved.type === "string") return "";
  if (resolved.type === "array") return [];
  const wanted = depth > 4 ? [] : (resolved.required ?? []);
  return Object.fromEntries(
    wanted.map((name) => [name, exampleOf(resolved.properties[name], definitions, depth + 1)]),
  );
}

// Trying it

const isPlain = (value) => value === null || typeof value !== "object";

/** A query's data in its URL: plain values, repeated for lists of them, JSON for the rest. */
function queryString(data) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(data)) {
    if (value === null) continue;
    if (isPlain(value)) parameters.append(name, String(value));
    else if (Array.isArray(value) && value.every(isPlain)) for (const item of value) parameters.append(name, String(item));
    else parameters.append(name, JSON.stringify(value));
  }
  return parameters.size ? `?${parameters}` : "";
}

function headersOf(method) {
  const headers = {};
  const token = byId("token").value.trim();
  const user = byId("user").value.trim();
  if (token) headers.authorization = `Bearer ${token}`;
  if (user) headers["backchannel-user"] = user;
  if (method === "POST") headers["content-type"] = "application/json";
  return headers;
}

function tryIt(name, request, isQuery, definitions) {
  const data = h("textarea", { spellcheck: "false", autocapitalize: "off" });
  data.value = JSON.stringify(exampleOf(request.data, definitions), null, 2);
  const method = h("select", {}, ...(isQuery ? ["GET", "POST"] : ["POST"]).map((word) => h("option", {}, word)));
  const send = h("button", { type: "submit" }, "Send");
  const answer = h("div", { role: "status" });
  const form = h(
    "form",
    {},
    h("label", {}, "Data, as JSON", data),
    h("label", { hidden: !isQuery }, "Method", method),
    send,
    answer,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      answer.replaceChildren(...(await ask(name, method.value, JSON.parse(data.value || "{}"))));
    } catch (error) {
      answer.replaceChildren(h("p", { class: "status-bad" }, String(error.message ?? error)));
    } finally {
      send.disabled = false;
    }
  });
  return h("details", {}, h("summary", {}, "Try it"), form);
}

async function ask(name, method, data) {
  const url = `v1/${name}${method === "GET" ? queryString(data) : ""}`;
  const response = await fetch(url, {
    method,
    headers: headersOf(method),
    body: method === "POST" ? JSON.stringify(data) : undefined,
    cache: "no-store",
    credentials: "omit",
  });
  const text = await response.text();
  const positions = response.headers.get("backchannel-positions");
  return [
    h("p", { class: response.ok ? "status-good" : "status-bad" }, `${response.status} ${response.statusText}`),
    ...(positions ? [h("p", {}, "Positions: ", h("code", {}, positions))] : []),
    h("pre", { tabindex: "0" }, pretty(text)),
  ];
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// Articles

const codes = (words) => joined(words.map((word) => [h("code", {}, word)]));

function requestArticle(name, request, isQuery, contract) {
  const methods = isQuery ? "GET or POST" : "POST";
  const lines = [h("p", { class: "quiet" }, `${methods} /v1/${name}`)];
  if (request.description) lines.unshift(h("p", {}, request.description));
  lines.push(fieldsOf(contract.$defs[nameOf(request.data)]));
  lines.push(h("p", {}, "Answer: ", ...typeOf(request.reply)));
  if (request.lane) lines.push(h("p", {}, "Lane: ", ...codes(request.lane)));
  if (request.errors) lines.push(h("p", {}, "Refused with: ", ...codes(request.errors)));
  return [...lines, tryIt(name, request, isQuery, contract.$defs)];
}

function eventArticle(event, contract) {
  const definition = contract.$defs[nameOf(event.data)];
  return [
    ...(definition.description ? [h("p", {}, definition.description)] : []),
    ...(event.ephemeral ? [h("p", { class: "quiet" }, "Ephemeral: it has no offset, and is heard at most once.")] : []),
    fieldsOf(definition),
  ];
}

function channelArticle(namespace) {
  const facts = [`${namespace.kind}, slow listeners: ${namespace.slow}`];
  if (namespace.presence) facts.push("tells who listens");
  if (namespace.clients_may_publish) facts.push("clients may publish");
  return [
    ...(namespace.description ? [h("p", {}, namespace.description)] : []),
    h("p", { class: "quiet" }, facts.join("; ")),
  ];
}

function errorArticle(error) {
  const retry = error.retry ? "the same request can succeed later" : "the same request will be refused again";
  const outcome = error.outcome === "none" ? "nothing happened" : "it may have taken effect";
  return [
    h("p", {}, error.description ?? "One of the app's own."),
    h("p", { class: "quiet" }, `Status ${error.status}; ${outcome}; ${retry}.`),
  ];
}

function typeArticle(definition) {
  return [
    ...(definition.description ? [h("p", {}, definition.description)] : []),
    definition.properties ? fieldsOf(definition) : h("p", {}, ...typeOf(definition)),
  ];
}

/** The parts of the page: title, prefix of the ids, and one article per name. */
function partsOf(contract) {
  const carried = [contract.commands, contract.queries].flatMap((requests) =>
    Object.values(requests).map((request) => nameOf(request.data)),
  );
  const named = new Set([...carried, ...Object.values(contract.events).map((event) => nameOf(event.data))]);
  const replied = [contract.commands, contract.queries].flatMap((requests) =>
    Object.values(requests).map((request) => nameOf(request.reply)),
  );
  const types = Object.entries(contract.$defs).filter(([name]) => !named.has(name) || replied.includes(name));
  const each = (entries, article) => entries.map(([name, item]) => [name, article(name, item)]);
  return [
    ["Commands", "command", each(Object.entries(contract.commands), (n, r) => requestArticle(n, r, false, contract))],
    ["Queries", "query", each(Object.entries(contract.queries), (n, r) => requestArticle(n, r, true, contract))],
    ["Events", "event", each(Object.entries(contract.events), (_, event) => eventArticle(event, contract))],
    ["Channels", "channel", each(Object.entries(contract.namespaces), (_, item) => channelArticle(item))],
    ["Errors", "error", each(Object.entries(contract.errors), (_, error) => errorArticle(error))],
    ["Types", "type", each(types, (_, definition) => typeArticle(definition))],
  ].filter(([, , articles]) => articles.length > 0);
}

function show(contract) {
  document.title = `${contract.title} · contract`;
  byId("title").textContent = contract.title;
  const sections = [];
  const contents = [];
  const entries = [];
  for (const [title, prefix, articles] of partsOf(contract)) {
    const list = h("ul");
    const section = h("section", { "aria-label": title }, h("h2", {}, title));
    const heading = h("h2", {}, title);
    for (const [name, parts] of articles) {
      const id = `${prefix}-${name}`;
      const shown = prefix === "channel" ? `${name}:…` : name;
      const article = h("article", { id, tabindex: "-1" }, h("h3", { class: "name" }, shown), ...parts);
      const item = h("li", {}, h("a", { href: `#${id}`, class: "name" }, shown));
      section.append(article);
      list.append(item);
      entries.push({ article, item, section, heading, text: article.textContent.toLowerCase() });
    }
    sections.push(section);
    contents.push(heading, list);
  }
  byId("contract").replaceChildren(...sections);
  byId("contents").replaceChildren(...contents);
  byId("filter").addEventListener("input", () => filter(entries));
  // The browser looked for the fragment before it was there.
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

function filter(entries) {
  const wanted = byId("filter").value.trim().toLowerCase();
  const seen = new Set();
  for (const { article, item, section, text } of entries) {
    const matches = text.includes(wanted);
    article.hidden = item.hidden = !matches;
    if (matches) seen.add(section);
  }
  for (const { section, heading } of entries) section.hidden = heading.hidden = !seen.has(section);
  const count = entries.filter(({ article }) => !article.hidden).length;
  byId("found").textContent = wanted ? `${count} found` : "";
}

// Light or dark: the system's choice, until the person makes one.

const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

function showTheme() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
}

byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
system.addEventListener("change", showTheme);
showTheme();
byId("access").addEventListener("submit", (event) => event.preventDefault());

try {
  const response = await fetch("docs/contract.json", { credentials: "omit" });
  if (!response.ok) throw new Error(`docs/contract.json: ${response.status}`);
  show(await response.json());
} catch (error) {
  byId("contract").replaceChildren(h("p", { class: "status-bad" }, `The contract cannot be shown. ${error.message}`));
}
