"use strict";
(() => {
  const STEP = 750; // milliseconds a word stays while playing
  const FADE = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 160;
  const SIDE = 192; // the canvas's longer side; the browser stretches it over the photo
  const { shade, glow } = JSON.parse('{{colours}}'); // [red, green, blue, opacity]

  // Bilinear between the centres of the regions, the same geometry as `seesay.explain.overlay.heat_map`.
  function at(map, x, y) {
    const rows = map.length, cols = map[0].length;
    const row = Math.min(Math.max(y * rows - 0.5, 0), rows - 1), col = Math.min(Math.max(x * cols - 0.5, 0), cols - 1);
    const top = Math.floor(row), left = Math.floor(col), down = row - top, right = col - left;
    const bottom = Math.min(top + 1, rows - 1), next = Math.min(left + 1, cols - 1);
    const above = map[top][left] * (1 - right) + map[top][next] * right;
    const below = map[bottom][left] * (1 - right) + map[bottom][next] * right;
    return above * (1 - down) + below * down;
  }

  function paint(canvas, map, strength) {
    const { width, height } = canvas, context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i += 4) {
        const lit = 2 * at(map, (x + 0.5) / width, (y + 0.5) / height) - 1;
        const colour = lit < 0 ? shade : glow;
        picture.data.set([colour[0], colour[1], colour[2], 255 * colour[3] * Math.abs(lit) * strength], i);
      }
    }
    context.putImageData(picture, 0, 0);
  }

  // Frames the regions that hard attention chose: white, edged in black.
  function outline(canvas, chosen, map) {
    const context = canvas.getContext("2d"), wide = canvas.width / map[0].length, high = canvas.height / map.length;
    for (const [width, colour] of [[3, "black"], [1.5, "white"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      for (const [row, column] of chosen) context.strokeRect(column * wide + 1.5, row * high + 1.5, wide - 3, high - 3);
    }
  }

  function wire(figure) {
    const image = figure.querySelector("img"), canvas = figure.querySelector("canvas");
    const words = [...figure.querySelectorAll(".word")], play = figure.querySelector(".play");
    const readout = figure.querySelector(".readout");
    const kinds = JSON.parse(figure.querySelector("script").textContent); // looked, perhaps needed
    const read = (kind) => kind.map((map) => map.map((row) => row.map((v) => v / 255)));
    const toggle = figure.querySelector(".switch");
    let maps = read(kinds.looked);
    const chosen = words.map((word) => JSON.parse(word.dataset.chosen ?? "[]"));
    const scale = SIDE / Math.max(image.getAttribute("width"), image.getAttribute("height"));
    canvas.width = Math.max(1, Math.round(image.getAttribute("width") * scale));
    canvas.height = Math.max(1, Math.round(image.getAttribute("height") * scale));
    let shown = -1, pinned = -1, timer = 0, frame = 0;
    let now = null; // what is on the canvas: {map, strength}

    function fade(map, strength) {
      cancelAnimationFrame(frame);
      const from = now ?? { map, strength: 0 }, start = performance.now();
      const mix = (a, b, t) => a + (b - a) * t;
      const tick = (time) => {
        const t = FADE ? Math.min(Math.max((time - start) / FADE, 0), 1) : 1;
        now = {
          map: map.map((row, r) => row.map((value, c) => mix(from.map[r]?.[c] ?? value, value, t))),
          strength: mix(from.strength, strength, t),
        };
        paint(canvas, now.map, now.strength);
        if (toggle?.getAttribute("aria-pressed") !== "true") outline(canvas, chosen[shown] ?? [], now.map);
        if (t < 1) frame = requestAnimationFrame(tick);
        else if (!strength) now = null;
      };
      tick(start);
    }

    function show(index) {
      if (index === shown) return;
      words[shown]?.classList.remove("lit");
      shown = index;
      words[index]?.classList.add("lit");
      readout.textContent = index < 0 ? "" : `${words[index].textContent} ${words[index].dataset.percent}`;
      if (index >= 0) fade(maps[index], 1);
      else if (now) fade(now.map, 0);
    }

    function pin(index) {
      pinned = index;
      words.forEach((word, i) => word.setAttribute("aria-pressed", String(i === index)));
      show(index);
    }

    function stop() {
      clearTimeout(timer);
      timer = 0;
      play.textContent = "Play";
    }

    function walk(index) {
      if (index >= words.length) { stop(); show(pinned); return; }
      show(index);
      timer = setTimeout(walk, STEP, index + 1);
    }

    words.forEach((word, index) => {
      word.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") { stop(); show(index); } });
      word.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch" && !timer) show(pinned); });
      word.addEventListener("focus", () => { if (word.matches(":focus-visible")) { stop(); show(index); } });
      word.addEventListener("blur", () => { if (!timer) show(pinned); });
      word.addEventListener("click", () => { stop(); pin(pinned === index ? -1 : index); });
      word.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (move) { words[index + move]?.focus(); event.preventDefault(); }
        if (event.key === "Escape") pin(-1);
      });
    });
    toggle?.addEventListener("click", () => {
      const needed = toggle.getAttribute("aria-pressed") !== "true";
      toggle.setAttribute("aria-pressed", String(needed));
      maps = read(needed ? kinds.needed : kinds.looked);
      if (shown >= 0) fade(maps[shown], 1);
    });
    play.addEventListener("click", () => {
      if (timer) { stop(); show(pinned); return; }
      play.textContent = "Stop";
      walk(0);
    });
  }

  // Figures come to life when they are first pointed at or focused: of a thousand only those that are looked at.
  for (const kind of ["pointerover", "pointerdown", "focus", "click"]) {
    document.addEventListener(kind, ({ target }) => {
      const figure = target.closest?.(".seesay figure:not([data-ready])");
      if (!figure) return;
      figure.dataset.ready = "";
      if (figure.querySelector(".word")) wire(figure);
    }, true); // before the word itself hears of it
  }

  for (const search of document.querySelectorAll(".seesay .search:not([data-ready])")) {
    search.dataset.ready = "";
    const field = search.querySelector("input"), found = search.querySelector("[role=status]");
    const items = [...search.parentElement.querySelectorAll("figure, .failed")];
    const texts = items.map((item) => {
      const parts = item.querySelectorAll(".caption, .name, .others li");
      return (parts.length ? [...parts].map((part) => part.textContent).join(" ") : item.textContent).toLowerCase();
    });
    search.hidden = false;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      items.forEach((item, i) => {
        item.hidden = !words.every((word) => texts[i].includes(word));
        shown += !item.hidden;
      });
      found.textContent = `${shown} of ${items.length}`;
    });
  }
})();
