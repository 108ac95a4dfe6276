
"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const [rows, cols] = data.shape;
  const map = byId("map"), canvas = byId("canvas"), overlay = byId("overlay"), marks = byId("marks");
  const swipe = byId("swipe"), tip = byId("tip"), level = byId("level"), status = byId("status");
  const fitHeight = () => {
    const most = Math.min(0.7 * window.innerHeight, 720);
    map.style.height = `${Math.round(Math.max(Math.min((map.clientWidth * rows) / cols, most), Math.min(240, most)))}px`;
  };
  const pictures = [...map.querySelectorAll(".picture")];
  const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const view = { x: 0, y: 0, scale: 1, whole: 1 };
  const state = { layer: "classes", level: data.classes.length, visible: data.classes.map(() => true), split: data.hasScene ? 0.5 : 0 };

  const bytesOf = (base64) => Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
  const inflate = async (bytes) =>
    new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
  const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 0, useGrouping: true });
  const rough = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, useGrouping: true });
  const number = (value) => (Number.isFinite(value) ? (Number.isInteger(value) ? exact : rough).format(value).replaceAll(",", "\u202f") : "-");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const area = (m2) => (m2 >= 1e6 ? `${number(m2 / 1e6)} km²` : m2 >= 1e4 ? `${number(m2 / 1e4)} ha` : `${number(m2)} m²`);

  // The class of each pixel, from the picture itself: its rows are not filtered, see to_png.
  async function readClasses() {
    const png = bytesOf(byId("class-picture").src.split(",")[1]), words = new DataView(png.buffer), parts = [];
    for (let at = 8; at < png.length; at += 12 + words.getUint32(at)) {
      const size = words.getUint32(at), kind = String.fromCharCode(...png.subarray(at + 4, at + 8));
      if (kind === "IDAT") parts.push(png.subarray(at + 8, at + 8 + size));
    }
    const lines = await inflate(await new Blob(parts).arrayBuffer());
    const found = new Uint8Array(rows * cols);
    for (let row = 0; row < rows; row++) {
      if (lines[row * (cols + 1)] !== 0) throw new Error("the picture of the classes is filtered");
      found.set(lines.subarray(row * (cols + 1) + 1, (row + 1) * (cols + 1)), row * cols);
    }
    return found;
  }

  const classes = await readClasses();
  const regions = new Uint16Array((await inflate(bytesOf(byId("regions-data").textContent))).buffer);
  const table = new Float32Array((await inflate(bytesOf(byId("region-table").textContent))).buffer);
  const column = (name) => {
    const i = data.columns.indexOf(name);
    return i < 0 ? null : table.subarray(i * data.nRegions, (i + 1) * data.nRegions);
  };
  const columns = Object.fromEntries(data.columns.map((name) => [name, column(name)]));

  // Levels of the class tree: each class at the level is a list of classes of the result.
  function groupsAt(n) {
    const groups = new Map(data.classes.map((_, i) => [i, [i]]));
    for (const [a, b] of data.merges.slice(0, data.classes.length - n)) {
      groups.get(a).push(...groups.get(b));
      groups.delete(b);
    }
    return [...groups.values()];
  }
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  function described(members) {
    const pixels = members.reduce((sum, i) => sum + data.classes[i].pixels, 0);
    const weight = (i) => (pixels ? data.classes[i].pixels / pixels : 1 / members.length);
    const color = [0, 1, 2].map((k) => Math.round(members.reduce((sum, i) => sum + weight(i) * rgb(data.classes[i].color)[k], 0)));
    return { members, pixels, color, name: members.map((i) => data.classes[i].name).join(" + ") };
  }
  let groups = [], groupOf = [];
  function setLevel(n) {
    state.level = n;
    groups = groupsAt(n).map(described);
    groupOf = [];
    groups.forEach((group, i) => group.members.forEach((member) => { groupOf[member] = i; }));
    const text = `${groups.length} ${groups.length === 1 ? data.words.one : data.words.many}`;
    byId("level-text").textContent = text;
    level.setAttribute("aria-valuetext", text);
    drawLegend();
    paint();
  }

  function drawLegend() {
    const total = data.classes.reduce((sum, each) => sum + each.pixels, 0);
    const items = groups.map((group) => {
      const item = document.createElement("li"), label = document.createElement("label");
      const box = document.createElement("input"), swatch = document.createElement("span"), share = document.createElement("span");
      box.type = "checkbox";
      box.checked = group.members.some((i) => state.visible[i]);
      box.addEventListener("change", () => {
        group.members.forEach((i) => { state.visible[i] = box.checked; });
        paint();
      });
      swatch.className = "swatch";
      swatch.style.backgroundColor = `rgb(${group.color.join(" ")})`;
      share.className = "quiet";
      share.textContent = total ? percent(group.pixels / total) : "";
      label.append(box, swatch, group.name, share);
      item.append(label);
      return item;
    });
    byId("legend-list").replaceChildren(...items);
  }

  const context = canvas.getContext("2d");
  const image = context.createImageData(cols, rows);
  const painted = new Uint32Array(image.data.buffer);
  const packed = new Uint32Array(1), channels = new Uint8Array(packed.buffer);
  const pack = (color) => { channels.set([...color, 255]); return packed[0]; };
  function rampColor(share) {
    const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), i = Math.min(Math.floor(at), RAMP.length - 2);
    return RAMP[i].map((low, k) => Math.round(low + (at - i) * (RAMP[i + 1][k] - low)));
  }
  function paint() {
    const lookup = new Uint32Array(256);
    data.classes.forEach((_, i) => { lookup[i + 1] = state.visible[i] ? pack(groups[groupOf[i]].color) : 0; });
    if (state.layer === "confidence" && columns.confidence) {
      const ramp = new Uint32Array(data.nRegions + 1), grey = pack([150, 150, 150]);
      ramp[0] = grey;
      columns.confidence.forEach((share, i) => { ramp[i + 1] = Number.isFinite(share) ? pack(rampColor(share)) : grey; });
      for (let i = 0; i < painted.length; i++) painted[i] = lookup[classes[i]] ? ramp[regions[i]] : 0;
    } else {
      for (let i = 0; i < painted.length; i++) painted[i] = lookup[classes[i]];
    }
    context.putImageData(image, 0, 0);
  }

  // Pan and zoom
  function place() {
    const { width, height } = map.getBoundingClientRect();
    const limit = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    view.x = limit(view.x, cols * view.scale, width);
    view.y = limit(view.y, rows * view.scale, height);
    for (const picture of pictures) picture.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    byId("scale").textContent = `zoom ${rough.format(view.scale / view.whole)} ×`;
  }
  function showAll() {
    const { width, height } = map.getBoundingClientRect();
    view.scale = view.whole = Math.min(width / cols, height / rows) || 1;
    place();
  }
  function zoom(factor, x, y) {
    const { width, height } = map.getBoundingClientRect(), [px, py] = [x ?? width / 2, y ?? height / 2];
    const scale = Math.min(Math.max(view.scale * factor, view.whole), Math.max(32, view.whole));
    view.x = px - ((px - view.x) * scale) / view.scale;
    view.y = py - ((py - view.y) * scale) / view.scale;
    view.scale = scale;
    place();
  }
  function pan(dx, dy) { view.x += dx; view.y += dy; place(); }
  function zoomTo([left, top, right, bottom]) {
    const { width, height } = map.getBoundingClientRect();
    const fit = 0.4 * Math.min(width / (right - left), height / (bottom - top));
    view.scale = Math.min(Math.max(fit, view.whole), Math.max(12, view.whole));
    view.x = width / 2 - ((left + right) / 2) * view.scale;
    view.y = height / 2 - ((top + bottom) / 2) * view.scale;
    place();
    mark("chosen", [left, top, right, bottom]);
  }
  function mark(kind, [left, top, right, bottom], title) {
    if (kind === "chosen") marks.querySelectorAll(".chosen").forEach((each) => each.remove());
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    Object.entries({ class: kind, x: left, y: top, width: right - left, height: bottom - top }).forEach(([key, value]) => rect.setAttribute(key, value));
    if (title) rect.dataset.title = title;
    marks.append(rect);
  }

  // The region at a point
  function regionAt(x, y) {
    const col = Math.floor((x - view.x) / view.scale), row = Math.floor((y - view.y) / view.scale);
    if (col < 0 || row < 0 || col >= cols || row >= rows) return null;
    const failed = data.failed.find(({ box }) => col >= box[0] && col < box[2] && row >= box[1] && row < box[3]);
    const number_ = classes[row * cols + col];
    if (!number_) return [[data.words.one, failed ? `none: tile ${failed.tile} failed` : "nodata"]];
    const facts = [[data.words.one, data.classes[number_ - 1].name]];
    if (state.level < data.classes.length) facts.push(["at this level", groups[groupOf[number_ - 1]].name]);
    const found = regions[row * cols + col] - 1;
    if (found < 0) return [...facts, ["region", "too small for this file"]];
    facts.push(["region", number(columns.region[found])]);
    if (columns.pixels) facts.push(["size", `${number(columns.pixels[found])} px`]);
    if (columns.area) facts.push(["area", area(columns.area[found])]);
    if (columns.confidence) facts.push([data.words.sure, Number.isFinite(columns.confidence[found]) ? columns.confidence[found].toFixed(2) : "-"]);
    if (columns.second) facts.push(["second name", data.classes[columns.second[found] - 1]?.name ?? "-"]);
    for (const [name, band] of Object.entries(data.bands)) facts.push([`mean of ${band}`, rough.format(columns[name][found])]);
    return facts;
  }
  function showRegion(facts) {
    const parts = (facts ?? [["none", "Point at the map."]]).flatMap(([name, text]) => {
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = name;
      value.textContent = text;
      return [term, value];
    });
    byId("region-list").replaceChildren(...parts);
  }
  function hover(event) {
    const box = map.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top, facts = regionAt(x, y);
    showRegion(facts);
    tip.hidden = !facts;
    if (!facts) return;
    tip.textContent = facts.filter(([name]) => name !== "region").map(([name, text]) => (name === data.words.one ? text : `${name}: ${text}`)).join("\n");
    tip.style.left = `${Math.max(4, Math.min(x + 14, box.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, box.height - tip.offsetHeight - 4))}px`;
  }
  function describeCross() {
    const { width, height } = map.getBoundingClientRect(), facts = regionAt(width / 2, height / 2);
    showRegion(facts);
    status.textContent = (facts ?? [["place", "outside the scene"]]).map(([name, text]) => `${name} ${text}`).join(", ");
  }

  // Swipe between the scene on the left and the classes on the right
  function setSplit(share) {
    state.split = Math.min(Math.max(share, 0), 1);
    overlay.style.clipPath = `inset(0 0 0 ${100 * state.split}%)`;
    if (!swipe) return;
    swipe.style.left = `${100 * state.split}%`;
    swipe.setAttribute("aria-valuenow", Math.round(100 * state.split));
    swipe.setAttribute("aria-valuetext", `${Math.round(100 * state.split)} percent scene`);
  }
  if (swipe) {
    swipe.addEventListener("pointerdown", (event) => { event.stopPropagation(); swipe.setPointerCapture(event.pointerId); tip.hidden = true; });
    swipe.addEventListener("pointermove", (event) => {
      if (!swipe.hasPointerCapture(event.pointerId)) return;
      event.stopPropagation();
      const box = map.getBoundingClientRect();
      setSplit((event.clientX - box.left) / box.width);
    });
    swipe.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -0.05, ArrowDown: -0.05, ArrowRight: 0.05, ArrowUp: 0.05, PageDown: -0.25, PageUp: 0.25, Home: -1, End: 1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      event.stopPropagation();
      setSplit(state.split + steps[event.key]);
    });
  }

  map.addEventListener("dragstart", (event) => event.preventDefault()); // of the pictures, which would end a pan
  const pointers = new Map();
  map.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    map.setPointerCapture(event.pointerId);
  });
  map.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return hover(event);
    const after = [event.clientX, event.clientY], other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, after);
    if (!other) return pan(after[0] - before[0], after[1] - before[1]);
    const box = map.getBoundingClientRect(), apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
    zoom(apart(after) / Math.max(apart(before), 1), (after[0] + other[0]) / 2 - box.left, (after[1] + other[1]) / 2 - box.top);
  });
  for (const kind of ["pointerup", "pointercancel"]) map.addEventListener(kind, (event) => { pointers.delete(event.pointerId); if (kind === "pointerup") hover(event); });
  map.addEventListener("pointerleave", () => { tip.hidden = true; });
  map.addEventListener("wheel", (event) => {
    if (document.activeElement !== map && !event.ctrlKey) return;
    event.preventDefault();
    const box = map.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  map.addEventListener("keydown", (event) => {
    const step = 60, moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") showAll();
    else if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    tip.hidden = true;
    describeCross();
  });

  byId("zoom-in").addEventListener("click", () => zoom(1.5));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  byId("zoom-all").addEventListener("click", showAll);
  level.addEventListener("input", () => setLevel(Number(level.value)));
  for (const radio of document.querySelectorAll("input[name=layer]")) {
    radio.addEventListener("change", () => {
      state.layer = radio.value;
      byId("confidence-legend").hidden = state.layer !== "confidence";
      if (byId("side-right")) byId("side-right").textContent = state.layer === "classes" ? data.words.many : data.words.sure;
      paint();
    });
  }
  const setAll = (shown) => { state.visible.fill(shown); drawLegend(); paint(); };
  byId("all-classes").addEventListener("click", () => setAll(true));
  byId("no-classes").addEventListener("click", () => setAll(false));
  for (const button of document.querySelectorAll(".zoom-to")) {
    button.addEventListener("click", () => {
      zoomTo(button.dataset.box.split(",").map(Number));
      if (button.dataset.row && state.split > 0.4) setSplit(0.4);
      map.scrollIntoView({ block: "center" });
      map.focus({ preventScroll: true });
      describeCross();
    });
  }

  map.style.setProperty("--shape", `${cols} / ${rows}`);
  canvas.width = cols;
  canvas.height = rows;
  for (const picture of pictures) { picture.style.width = `${cols}px`; picture.style.height = `${rows}px`; }
  data.failed.forEach(({ tile, box }) => mark("failed", box, `tile ${tile}`));
  document.documentElement.classList.add("ready");
  setLevel(data.classes.length);
  setSplit(state.split);
  byId("class-picture").hidden = true;
  canvas.hidden = false;
  fitHeight();
  showAll();
  new ResizeObserver(() => {
    const isWhole = view.scale === view.whole;
    fitHeight();
    const { width, height } = map.getBoundingClientRect();
    view.whole = Math.min(width / cols, height / rows) || 1;
    if (isWhole || view.scale < view.whole) showAll();
    else place();
  }).observe(map);
  document.documentElement.dataset.state = "drawn";
})().catch((error) => {
  document.documentElement.dataset.state = "failed";
  document.getElementById("status").textContent = "The map cannot be drawn in this browser.";
  console.error(error);
});
