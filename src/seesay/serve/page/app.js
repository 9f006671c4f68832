"use strict";
(() => {
  const AT_ONCE = 2; // photos on their way to the server
  const TRIES = 6; // while the server is busy
  const ALTERNATIVES = 4;
  const KEY = "seesay-token";
  const $ = (id) => document.getElementById(id);
  const list = $("photos"), live = $("live"), drop = $("drop");
  const waiting = [];
  let running = 0;

  // --- the server ---------------------------------------------------------------------------------------------------

  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has("token")) sessionStorage.setItem(KEY, fragment.get("token"));
  const wantsSamples = fragment.has("samples");
  if (location.hash) history.replaceState(null, "", location.pathname);

  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  async function ask(path, body) {
    for (let tries = 1; ; tries++) {
      const token = sessionStorage.getItem(KEY);
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      let answer;
      try {
        answer = await fetch(path, { method: body ? "POST" : "GET", body, headers });
      } catch {
        throw new Error("the server does not answer; is it still running?");
      }
      if (answer.ok) return answer;
      if (answer.status === 401) { await askToken(); continue; }
      const busy = answer.status === 429 || answer.status === 503;
      if (busy && tries < TRIES) { await pause(Number(answer.headers.get("Retry-After")) || 1); continue; }
      throw new Error((await answer.json().catch(() => null))?.error?.message ?? `the server answered ${answer.status}`);
    }
  }

  let asking = null;
  function askToken() {
    asking ??= new Promise((done) => {
      const dialog = $("ask-token");
      dialog.addEventListener("close", () => {
        sessionStorage.setItem(KEY, $("token").value);
        asking = null;
        done();
      }, { once: true });
      dialog.addEventListener("cancel", (event) => event.preventDefault());
      dialog.showModal();
    });
    return asking;
  }

  function form(file, options) {
    const data = new FormData();
    data.append("photos", file, file.name || "photo");
    for (const [name, value] of Object.entries(options)) data.append(name, value);
    return data;
  }

  const captionOf = async (file) =>
    (await (await ask("v1/captions", form(file, { alternatives: ALTERNATIVES, attention: true }))).json()).results[0];
  const scoreOf = async (file, text) =>
    (await (await ask("v1/scores", form(file, { text, attention: true }))).json()).results[0];

  // --- one caption on its photo; look.js lights it up -----------------------------------------------------------

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const percent = (p) => (p < 0.01 ? "<1%" : `${Math.round(100 * p)}%`);
  const probability = (logprob) => Math.exp(Math.min(logprob, 0));
  const mean = (words) => Math.exp(Math.min(words.reduce((sum, word) => sum + word.logprob, 0) / Math.max(words.length, 1), 0));

  // How strongly each region is lit, 0 to 255; the same scale as `seesay.explain.overlay.heat`.
  function heat(map) {
    const regions = map.length * map[0].length, span = Math.log(Math.max(regions, 4));
    const lit = (weight) => 0.5 + Math.log(Math.max(weight * regions, 1e-9)) / span;
    return map.map((row) => row.map((weight) => Math.round(255 * Math.min(Math.max(lit(weight), 0), 1))));
  }

  // Figures of the caption as a whole; only some bundles give a confidence and a kind.
  function facts(result) {
    const known = [];
    if (result.confidence !== undefined) known.push(["Confidence", percent(result.confidence)]);
    if (result.kind !== undefined) known.push(["Kind", result.kind]);
    known.push(["Mean word probability", percent(mean(result.words))], ["Log-probability", result.score.toFixed(1)]);
    return make("p", { class: "facts" }, ...known.map(([name, value]) => make("span", {}, `${name} `, make("b", {}, value))));
  }

  const noPhoto = (result) => (result.kind ?? "photo") !== "photo";
  // What screen readers are told in place of a withheld caption; the same texts as `Caption.shown`.
  const shownText = (result) => (!result.withheld ? result.caption : noPhoto(result) ? `not a photo (${result.kind})` : "not sure");

  function wordButton({ text, logprob, chosen, confidence = probability(logprob) }) {
    const sure = percent(confidence);
    const word = make("button", {
      type: "button", class: "word", "aria-pressed": "false", "aria-label": `${text}, ${sure} sure`, "data-percent": sure,
    }, text);
    word.style.setProperty("--p", confidence.toFixed(3));
    if (chosen) word.dataset.chosen = JSON.stringify(chosen); // regions, of hard attention
    return word;
  }

  function figureOf(card, result, isOwn) {
    const { picture } = card;
    const plate = make("div", { class: "photo" }, picture, make("canvas", { "aria-hidden": "true" }));
    plate.style.setProperty("--aspect", (picture.getAttribute("width") / picture.getAttribute("height")).toFixed(4));
    const sentence = make("p", { class: "caption", role: "group", "aria-label": "Caption, word by word" });
    result.words.forEach((word, i) => sentence.append(i ? " " : "", wordButton(word)));
    const play = make("button", { type: "button", class: "play" }, "Play");
    const readout = make("span", { class: "readout", "aria-hidden": "true" });
    const side = make("figcaption", {}, sentence, make("p", { class: "meta" }, play, readout), facts(result));
    if (isOwn) {
      const back = make("button", { type: "button", class: "link back" }, "Back to the caption");
      back.addEventListener("click", () => { show(card, card.result, false); card.element.querySelector(".play").focus(); });
      side.querySelector(".facts").append(back);
    } else if (result.alternatives?.length > 1) side.append(alternativesOf(card, result));
    if (result.withheld) side.append(make("p", { class: "warning" }, noPhoto(result)
      ? `This looks like a picture of another kind (${result.kind}) than a photo; the caption may be wrong.`
      : "The model is not sure of this caption."));
    if (result.warning) side.append(make("p", { class: "warning" }, `The photo is damaged: ${result.warning}.`));
    const maps = make("script", { type: "application/json" }, JSON.stringify({ looked: result.words.map((word) => heat(word.attention)) }));
    side.append(maps);
    return make("figure", {}, plate, side);
  }

  function alternativesOf(card, result) {
    const others = result.alternatives.slice(1), trusted = others.every(({ confidence }) => confidence !== undefined);
    const items = others.map(({ caption, score, confidence }) => {
      const button = make("button", { type: "button", class: "link" }, caption);
      button.addEventListener("click", () => tryOut(card, caption));
      return make("li", {}, button, " ", make("span", {}, trusted ? percent(confidence) : score.toFixed(1)));
    });
    return make("div", { class: "others" }, make("p", {}, `Alternatives, with their ${trusted ? "confidence" : "log-probabilities"}`), make("ul", {}, ...items));
  }

  function show(card, result, isOwn) {
    card.shown = result;
    card.isOwn = isOwn;
    card.picture.alt = shownText(result);
    card.element.querySelector(".save-photo").hidden = Boolean(result.withheld) && !isOwn;
    const place = card.element.querySelector(".shown");
    place.replaceChildren(figureOf(card, result, isOwn));
    place.hidden = false;
  }

  // --- cards -----------------------------------------------------------------------------------------------------------

  function pictureOf(file) {
    return new Promise((done) => {
      const picture = make("img", { alt: "" });
      const ready = (width, height) => {
        picture.setAttribute("width", width);
        picture.setAttribute("height", height);
        done(picture);
      };
      picture.onload = () => ready(picture.naturalWidth || 300, picture.naturalHeight || 300);
      picture.onerror = () => ready(400, 300); // the server may read formats that this browser cannot show, such as HEIC
      picture.src = URL.createObjectURL(file);
    });
  }

  function add(file) {
    const element = $("card").content.firstElementChild.cloneNode(true);
    const card = { element, file, picture: null, result: null, shown: null, isOwn: false };
    const on = (selector, kind, act) => element.querySelector(selector).addEventListener(kind, act);
    element.querySelector(".file").textContent = file.name || "pasted photo";
    on(".remove", "click", () => remove(card));
    on(".copy", "click", () => copy(card));
    on(".figure", "click", () => save(card, "v1/figures", "png"));
    on(".save-page", "click", () => save(card, "v1/pages", "html"));
    on(".save-photo", "click", () => save(card, "v1/alt-text", (file.name.match(/[.]([^.]+)$/) ?? ["", file.type.replace("image/", "")])[1]));
    on(".own", "submit", (event) => {
      event.preventDefault();
      tryOut(card, element.querySelector(".own input").value);
    });
    list.prepend(element);
    waiting.push(card);
    count();
    work();
  }

  function work() {
    while (running < AT_ONCE && waiting.length) {
      running++;
      caption(waiting.shift()).finally(() => { running--; work(); });
    }
  }

  async function caption(card) {
    const { element, file } = card, state = element.querySelector(".state");
    if (!element.isConnected) return;
    try {
      const [picture, result] = await Promise.all([pictureOf(file), captionOf(file)]);
      Object.assign(card, { picture, result });
      show(card, result, false);
      state.hidden = true;
      element.querySelector(".tools").hidden = false;
      say(`${file.name}: ${shownText(result)}`);
    } catch (error) {
      state.textContent = `Not captioned: ${plain(error, file)}.`;
      state.classList.add("failed");
      state.setAttribute("role", "alert");
    }
    element.setAttribute("aria-busy", "false");
  }

  const plain = (error, file) => error.message.replace(`${file.name}: `, "").replace(/[.]$/, "");

  // Score a sentence on this photo: the user's own, or one of the alternatives.
  async function tryOut(card, text) {
    const problem = card.element.querySelector(".problem");
    problem.hidden = true;
    try {
      const result = await scoreOf(card.file, text);
      show(card, result, true);
      say(`${result.caption}: mean word probability ${percent(mean(result.words))}`);
      card.element.querySelector(".shown .word")?.focus({ preventScroll: true });
    } catch (error) {
      problem.textContent = `Not scored: ${plain(error, card.file).replace(/^text: /, "")}.`;
      problem.hidden = false;
    }
  }

  async function copy(card) {
    const text = card.shown.caption;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // browsers give the clipboard only to localhost and to pages over HTTPS
      const field = make("textarea", {}, text);
      card.element.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    say("Copied");
    const button = card.element.querySelector(".copy");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy the caption"; }, 1500);
  }

  async function save(card, path, suffix) {
    const problem = card.element.querySelector(".problem");
    problem.hidden = true;
    const options = card.isOwn ? { text: card.shown.caption } : { alternatives: ALTERNATIVES };
    try {
      const blob = await (await ask(path, form(card.file, options))).blob();
      const link = make("a", { download: `${(card.file.name || "photo").replace(/[.][^.]*$/, "")}-seesay.${suffix}` });
      link.href = URL.createObjectURL(blob);
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (error) {
      problem.textContent = `Not saved: ${plain(error, card.file)}.`;
      problem.hidden = false;
    }
  }

  function remove(card) {
    const next = card.element.nextElementSibling?.querySelector(".remove") ?? $("files");
    if (card.picture) URL.revokeObjectURL(card.picture.src);
    card.element.remove();
    count();
    next.focus();
  }

  function count() {
    const number = list.childElementCount;
    $("bar").hidden = number < 2;
    $("count").textContent = `${number} photos`;
  }

  function say(text) {
    live.textContent = text;
  }

  // --- ways to add photos --------------------------------------------------------------------------------------------

  const take = (files) => [...files].forEach(add);

  for (const id of ["files", "camera"]) {
    $(id).addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
  }
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files);
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  $("clear").addEventListener("click", () => { waiting.length = 0; list.replaceChildren(); count(); $("files").focus(); });

  async function samples() {
    const names = await (await ask("samples")).json();
    for (const name of names.reverse()) { // the newest stands first
      const blob = await (await ask(`samples/${encodeURIComponent(name)}`)).blob();
      add(new File([blob], name, { type: blob.type }));
    }
  }
  $("samples").addEventListener("click", () => samples().catch((error) => say(error.message)));
  if (wantsSamples) samples();

  if (["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) $("where").textContent = "this machine";
  ask("v1/models").then((answer) => answer.json()).then(({ data: [model] }) => { $("model").textContent = model.id; })
    .catch(() => { $("model").textContent = "unknown"; });
})();
